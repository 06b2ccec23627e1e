#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As much as a fast connection takes between two turns of the host. */
enum { SOURCE_QUEUE_BYTES = 1 << 20 };

void source_init(struct source *s)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
}

void source_init_bytes(struct source *s, const char *bytes, size_t len)
{
    source_init(s);
    s->kind = SOURCE_BYTES;
    s->bytes = bytes;
    s->len = len;
}

void source_init_owned(struct source *s, char *bytes, size_t len)
{
    source_init_bytes(s, bytes, len);
    s->owned = bytes;
}

void source_init_file(struct source *s, int fd, off_t first, off_t size, const char *bytes, size_t len)
{
    source_init_bytes(s, bytes, len);
    s->kind = SOURCE_FILE;
    s->fd = fd;
    s->first = first;
    s->size = size;
}

bool source_init_queue(struct source *s)
{
    source_init(s);
    if (!queue_init(&s->queue, SOURCE_QUEUE_BYTES))
        return false;
    s->kind = SOURCE_QUEUE;
    return true;
}

void source_free(struct source *s)
{
    free(s->owned);
    if (s->fd >= 0)
        close(s->fd);
    queue_free(&s->queue);
    source_init(s);
}

off_t source_size(const struct source *s)
{
    switch (s->kind) {
    case SOURCE_NONE:
        return 0;
    case SOURCE_BYTES:
        return (off_t)s->len;
    case SOURCE_FILE:
        return (off_t)s->len + s->size;
    case SOURCE_QUEUE:
        break;
    }
    return -1;
}

static size_t read_bytes(const struct source *s, char *out, size_t n)
{
    size_t got = s->len - (size_t)s->sent < n ? s->len - (size_t)s->sent : n;
    if (got)
        memcpy(out, s->bytes + s->sent, got);
    return got;
}

static enum source_event read_file(struct source *s, char *out, size_t n, size_t *got)
{
    off_t at = s->sent - (off_t)s->len;
    if (at < 0) {
        *got = read_bytes(s, out, n);
        return SOURCE_DATA;
    }
    off_t left = s->size - at;
    if ((off_t)n > left)
        n = (size_t)left;
    ssize_t r = 0;
    if (n) {
        do
            r = pread(s->fd, out, n, s->first + at);
        while (r < 0 && errno == EINTR);
        if (r <= 0) {
            s->error = r < 0 ? errno : 0;
            return SOURCE_FAILED;
        }
    }
    *got = (size_t)r;
    return SOURCE_DATA;
}

enum source_event source_read(struct source *s, char *out, size_t n, size_t *got, bool *wake)
{
    *got = 0;
    *wake = false;
    switch (s->kind) {
    case SOURCE_NONE:
        break;
    case SOURCE_BYTES:
        *got = read_bytes(s, out, n);
        break;
    case SOURCE_FILE:
        if (read_file(s, out, n, got) == SOURCE_FAILED)
            return SOURCE_FAILED;
        break;
    case SOURCE_QUEUE: {
        bool ended;
        *got = queue_take(&s->queue, out, n, &ended, wake);
        if (*got == 0 && !ended)
            return SOURCE_WAIT;
        s->whole_sent = ended;
        break;
    }
    }
    s->sent += (off_t)*got;
    if (s->kind != SOURCE_QUEUE)
        s->whole_sent = s->sent == source_size(s);
    return *got ? SOURCE_DATA : SOURCE_END;
}
