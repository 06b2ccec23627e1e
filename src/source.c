#include "source.h"

#include <errno.h>
#include <stdio.h>
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

bool source_init_text(struct source *s, const char *text, size_t len)
{
    source_init(s);
    s->text = malloc(len + 1);
    if (!s->text)
        return false;
    memcpy(s->text, text, len);
    s->text[len] = '\0';
    s->kind = SOURCE_TEXT;
    s->len = len;
    return true;
}

void source_init_bytes(struct source *s, const char *bytes, size_t len)
{
    source_init(s);
    s->kind = SOURCE_BYTES;
    s->bytes = bytes;
    s->len = len;
}

void source_init_file(struct source *s, int fd, const char *path, off_t first, off_t size, const char *bytes,
                      size_t len)
{
    source_init_bytes(s, bytes, len);
    s->kind = SOURCE_FILE;
    s->fd = fd;
    s->path = strdup(path);
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
    if (s->fd >= 0)
        close(s->fd);
    if (s->text)
        explicit_bzero(s->text, s->len);
    free(s->text);
    free(s->path);
    queue_free(&s->queue);
    digest_free(s->sum);
    source_init(s);
}

void source_expect(struct source *s, const char *digest)
{
    snprintf(s->expected, sizeof s->expected, "%s", digest);
}

off_t source_size(const struct source *s)
{
    switch (s->kind) {
    case SOURCE_NONE:
        return 0;
    case SOURCE_TEXT:
    case SOURCE_BYTES:
        return (off_t)s->len;
    case SOURCE_FILE:
        return (off_t)s->len + s->size;
    case SOURCE_QUEUE:
        break;
    }
    return -1;
}

bool source_is_whole(const struct source *s)
{
    return s->whole_sent || source_size(s) == 0;
}

static size_t read_bytes(const struct source *s, char *out, size_t n)
{
    size_t got = s->len - (size_t)s->sent < n ? s->len - (size_t)s->sent : n;
    if (got)
        memcpy(out, s->bytes + s->sent, got);
    return got;
}

static enum source_event fail(struct source *s, enum source_failure failure, int error)
{
    s->failure = failure;
    s->error = error;
    return SOURCE_FAILED;
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
        if (r <= 0)
            return r < 0 ? fail(s, SOURCE_UNREADABLE, errno) : fail(s, SOURCE_SHORTER, 0);
    }
    *got = (size_t)r;
    return SOURCE_DATA;
}

/* Counts in what was read. At the end of the body it decides whether that may go out. */
static enum source_event pass_on(struct source *s, const char *data, size_t n, bool ended)
{
    if (!s->sum && !(s->sum = digest_new(DIGEST_BODY)))
        return fail(s, SOURCE_UNREADABLE, ENOMEM);
    digest_add(s->sum, data, n);
    if (ended && (!digest_hex(s->sum, s->digest) || (s->expected[0] && strcmp(s->digest, s->expected) != 0))) {
        s->digest[0] = '\0';
        return fail(s, SOURCE_CHANGED, 0);
    }
    s->sent += (off_t)n;
    s->whole_sent = ended;
    return n ? SOURCE_DATA : SOURCE_END;
}

enum source_event source_read(struct source *s, char *out, size_t n, size_t *got, bool *wake)
{
    bool ended;
    *got = 0;
    *wake = false;
    switch (s->kind) {
    case SOURCE_NONE:
    case SOURCE_TEXT: /* libcurl has it */
        return SOURCE_END;
    case SOURCE_BYTES:
        *got = read_bytes(s, out, n);
        break;
    case SOURCE_FILE:
        if (read_file(s, out, n, got) == SOURCE_FAILED)
            return SOURCE_FAILED;
        break;
    case SOURCE_QUEUE:
        *got = queue_take(&s->queue, out, n, &ended, wake);
        if (*got == 0 && !ended)
            return SOURCE_WAIT;
        return pass_on(s, out, *got, ended);
    }
    ended = s->sent + (off_t)*got == source_size(s);
    return pass_on(s, out, *got, ended);
}
