#include "mask.h"

#include <ctype.h>
#include <string.h>

static int hex_digit(char c)
{
    const char *const digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* How many bytes of `text` spell the secret, which may be escaped as in a URL or a form: who echoes it chooses which
 * characters. 0: it does not stand there. */
static size_t spelt(const char *text, size_t len, const char *secret, size_t n)
{
    size_t at = 0;
    if (len >= n && memcmp(text, secret, n) == 0)
        return n;
    for (size_t i = 0; i < n; i++) {
        int high = at + 2 < len && text[at] == '%' ? hex_digit(text[at + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[at + 2]) : -1;
        if (low >= 0 && (unsigned char)secret[i] == high * 16 + low)
            at += 3;
        else if (at < len && (text[at] == secret[i] || (text[at] == '+' && secret[i] == ' ')))
            at++;
        else
            return 0;
    }
    return at;
}

void mask_secret(char *text, size_t len, const char *secret, size_t n)
{
    for (size_t at = 0; n && at < len;) {
        size_t found = spelt(text + at, len - at, secret, n);
        memset(text + at, '*', found);
        at += found ? found : 1;
    }
}
