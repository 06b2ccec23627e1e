#include "markup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Finds `what`, case not counting. */
static const char *find(const char *text, const char *end, const char *what)
{
    size_t n = strlen(what);
    for (; (size_t)(end - text) >= n; text++)
        if (strncasecmp(text, what, n) == 0)
            return text;
    return NULL;
}

const char *markup_element(const char *text, size_t len, const char *name, size_t *content_len)
{
    const char *end = text + len;
    size_t n = strlen(name);
    for (const char *p = text; (p = memchr(p, '<', (size_t)(end - p))); p++) {
        const char *after = p + 1 + n;
        if (after >= end || strncmp(p + 1, name, n) != 0 || (*after != '>' && *after != ' '))
            continue;
        const char *start = memchr(after, '>', (size_t)(end - after));
        const char *stop = start ? memchr(start, '<', (size_t)(end - start)) : NULL;
        if (!stop)
            return NULL;
        *content_len = (size_t)(stop - start - 1);
        return start + 1;
    }
    return NULL;
}

/* The character that the entity at `p` (behind the ampersand, `len` bytes up to the semicolon) stands for; 0: unknown.
 */
static char entity(const char *p, size_t len)
{
    static const struct {
        const char *name;
        char c;
    } named[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (strlen(named[i].name) == len && memcmp(named[i].name, p, len) == 0)
            return named[i].c;
    if (len < 2 || len > 5 || p[0] != '#')
        return 0;
    char digits[8] = {0};
    int hex = p[1] == 'x' || p[1] == 'X';
    memcpy(digits, p + 1 + hex, len - 1 - (size_t)hex);
    char *end;
    long n = strtol(digits, &end, hex ? 16 : 10);
    return *end == '\0' && n > 0 && n < 128 ? (char)n : '\0';
}

size_t markup_unescape(char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const char *end = text[i] == '&' ? memchr(text + i, ';', len - i) : NULL;
        char c = end ? entity(text + i + 1, (size_t)(end - text) - i - 1) : '\0';
        if (c)
            i = (size_t)(end - text);
        text[n++] = c ? c : text[i];
    }
    return n;
}

/* Behind the tag that begins at `p`; a script or style with all that is in it. */
static const char *skip_tag(const char *p, const char *end)
{
    static const char *const silent[] = {"script", "style"};
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++) {
        size_t n = strlen(silent[i]);
        if ((size_t)(end - p) > n + 1 && strncasecmp(p + 1, silent[i], n) == 0) {
            const char *close = find(p + 1, end, i == 0 ? "</script" : "</style");
            if (!close)
                return end;
            p = close;
        }
    }
    const char *stop = memchr(p, '>', (size_t)(end - p));
    return stop ? stop + 1 : end;
}

size_t markup_words(const char *text, size_t len, char *out, size_t room)
{
    const char *end = text + len;
    const char *p = text;
    size_t n = 0;
    bool gap = false;
    while (p < end && n + 2 < room) {
        if (*p == '<') {
            p = skip_tag(p, end);
            gap = true;
        } else if ((unsigned char)*p <= ' ') {
            p++;
            gap = true;
        } else {
            if (gap && n)
                out[n++] = ' ';
            gap = false;
            out[n++] = *p++;
        }
    }
    n = markup_unescape(out, n);
    out[n] = '\0';
    return n;
}
