#include "surrogates.h"

#include <string.h>

enum { ESCAPE = 6 }; /* \uXXXX */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The number in the escape at `p`, or -1 when there is no whole one. */
static int escape_at(const char *p, const char *end)
{
    int n = 0;
    if (end - p < ESCAPE || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < ESCAPE; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        n = n * 16 + digit;
    }
    return n;
}

bool surrogates_mend(char *text, size_t len)
{
    const char *end = text + len;
    bool mended = false;
    char *p = text;
    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL && end - p >= 2) {
        int n = escape_at(p, end);
        bool high = n >= 0xD800 && n <= 0xDBFF;
        bool low = n >= 0xDC00 && n <= 0xDFFF;
        int next = high ? escape_at(p + ESCAPE, end) : -1;
        if (high && next >= 0xDC00 && next <= 0xDFFF) {
            p += 2 * ESCAPE;
        } else if (high || low) {
            memcpy(p, "\\ufffd", ESCAPE);
            mended = true;
            p += ESCAPE;
        } else {
            p += 2; /* behind an escaped backslash, which begins no escape */
        }
    }
    return mended;
}
