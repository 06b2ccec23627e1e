/* A growable byte buffer with a hard maximum: the one container below the line. */
#ifndef BULKJOB_BUF_H
#define BULKJOB_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;     /* owned; NUL-terminated whenever it is not NULL */
    size_t len;     /* bytes in use */
    size_t cap;     /* bytes allocated */
    size_t max;     /* an append that would make it longer than this fails */
    bool overflown; /* the last failure was the maximum, not memory */
};

/* An empty buffer that may grow to `max` bytes. Allocates nothing. */
void buf_init(struct buf *b, size_t max);

/* Frees the memory; the buffer can be used again. */
void buf_free(struct buf *b);

/* Makes it empty and keeps the memory. */
void buf_clear(struct buf *b);

/* buf_reserve where the memory at hand does not do. */
char *buf_grow(struct buf *b, size_t n);

/* Room for `n` more bytes behind the content, not yet part of it. NULL when out of memory or over the maximum; the
 * content is untouched then. */
static inline char *buf_reserve(struct buf *b, size_t n)
{
    return b->cap - b->len > n ? b->data + b->len : buf_grow(b, n);
}

/* Appends. False as buf_reserve. */
bool buf_add(struct buf *b, const void *data, size_t n);
bool buf_add_string(struct buf *b, const char *s);
static inline bool buf_add_char(struct buf *b, char c)
{
    char *room = buf_reserve(b, 1);
    if (!room)
        return false;
    room[0] = c;
    room[1] = '\0';
    b->len++;
    return true;
}

/* Removes the first `n` bytes. */
void buf_drop(struct buf *b, size_t n);

/* The content as a C string: "" when nothing was added. */
const char *buf_string(const struct buf *b);

#endif
