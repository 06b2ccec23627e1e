#include "mask.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    const char *const digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* How many bytes at the beginning of `text` are an escape of this byte: "%21" for "!", and also "%2521", as it stands
 * where one URL was put into another. 0: it is none. */
static size_t escape_of(const char *text, size_t len, unsigned char byte)
{
    for (size_t at = 1; at + 1 < len && text[0] == '%'; at += 2) {
        int high = hex_digit(text[at]);
        int low = hex_digit(text[at + 1]);
        int value = high >= 0 && low >= 0 ? high * 16 + low : -1;
        if (value == byte)
            return at + 2;
        if (value != '%')
            break;
    }
    return 0;
}

/* How many bytes of `text` spell the secret, which may be escaped as in a URL or a form: who echoes it chooses which
 * characters. 0: it does not stand there. */
static size_t spelt(const char *text, size_t len, const char *secret, size_t n)
{
    size_t at = 0;
    if (len >= n && memcmp(text, secret, n) == 0)
        return n;
    for (size_t i = 0; i < n; i++) {
        size_t escape = escape_of(text + at, len - at, (unsigned char)secret[i]);
        if (escape)
            at += escape;
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

/* Is the last word before `at` the name of a header with credentials? */
static bool follows_authorization(const char *text, size_t at)
{
    static const char name[] = "authorization";
    const size_t n = sizeof name - 1;
    while (at > 0 && !isalnum((unsigned char)text[at - 1]))
        at--;
    return at >= n && strncasecmp(text + at - n, name, n) == 0;
}

void mask_credentials(char *text, size_t len)
{
    static const char *const schemes[] = {"basic ", "bearer "};
    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
            size_t n = strlen(schemes[i]);
            if (len - at < n || strncasecmp(text + at, schemes[i], n) != 0 || !follows_authorization(text, at))
                continue;
            for (at += n; at < len && text[at] == ' ';)
                at++;
            for (; at < len && (isalnum((unsigned char)text[at]) || (text[at] && strchr("-._~+/=!%", text[at]))); at++)
                text[at] = '*';
        }
    }
}
