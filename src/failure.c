#include "failure.h"

#include <string.h>

const char *failure_text(const struct transfer *t)
{
    if (strncmp(t->error, "Unsupported proxy", strlen("Unsupported proxy")) == 0)
        return "the URL of the proxy is not valid";
    return t->error[0] ? t->error : curl_easy_strerror(t->code);
}

CURLcode failure_code(const struct transfer *t)
{
    if (t->code != CURLE_SEND_FAIL_REWIND)
        return t->code;
    return strncmp(t->error, "Recv", strlen("Recv")) == 0 ? CURLE_RECV_ERROR : CURLE_SEND_ERROR;
}

const char *failure_hint(const char *text)
{
    static const char *const hints[][2] = {
        {"the URL of the proxy", ": SCHEME://USER:PASSWORD@HOST:PORT is one, with the scheme http, https, socks4, "
                                 "socks4a, socks5 or socks5h, and user and password escaped as in any URL"},
        {"protocol version", "; TLS 1.2 or later is needed"},
        {"unsupported protocol", "; TLS 1.2 or later is needed"},
        {"wrong version number", "; this port does not use TLS"},
        {"unable to get local issuer certificate", "; its CA is not trusted here, see ca_file"},
        {"self-signed certificate", "; its CA is not trusted here, see ca_file"},
        {"certificate required", "; client_cert and client_key have to name one"},
        {"unable to set private key", "; client_key has to be that of client_cert, without a passphrase"},
    };
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (strstr(text, hints[i][0]))
            return hints[i][1];
    return "";
}
