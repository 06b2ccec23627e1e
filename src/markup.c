#include "markup.h"

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
    out[n] = '\0';
    return n;
}
