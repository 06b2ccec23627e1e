#include "buf.h"

#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST = 256 };

void buf_init(struct buf *b, size_t max)
{
    memset(b, 0, sizeof *b);
    b->max = max;
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->overflown = false;
    if (b->data)
        b->data[0] = '\0';
}

char *buf_grow(struct buf *b, size_t n)
{
    if (n > b->max || b->len > b->max - n) {
        b->overflown = true;
        return NULL;
    }
    size_t need = b->len + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : BUF_FIRST;
        while (cap < need)
            cap = cap > (size_t)-1 / 2 ? need : cap * 2;
        if (cap > b->max + 1)
            cap = b->max + 1;
        char *data = realloc(b->data, cap);
        if (!data) {
            b->overflown = false;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
        b->data[b->len] = '\0';
    }
    return b->data + b->len;
}

bool buf_add(struct buf *b, const void *data, size_t n)
{
    char *room = buf_reserve(b, n);
    if (!room)
        return false;
    if (n)
        memcpy(room, data, n);
    b->len += n;
    b->data[b->len] = '\0';
    return true;
}

bool buf_add_string(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->len) {
        buf_clear(b);
        return;
    }
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
    b->data[b->len] = '\0';
}

const char *buf_string(const struct buf *b)
{
    return b->data ? b->data : "";
}
