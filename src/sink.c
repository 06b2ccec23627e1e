#include "sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

enum {
    SINK_QUEUE_BYTES = 512 * 1024,
    UNPACK_BYTES = 32 * 1024,
    GZIP_ONLY = 16, /* zlib: added to the window bits */
    HEADER_MAX = 256 * 1024,
};

bool unpacker_init(struct unpacker *u, bool gzip)
{
    u->stream = NULL;
    u->ended = false;
    if (!gzip)
        return true;
    z_stream *z = calloc(1, sizeof *z);
    if (!z)
        return false;
    if (inflateInit2(z, MAX_WBITS + GZIP_ONLY) != Z_OK) {
        free(z);
        return false;
    }
    u->stream = z;
    return true;
}

void unpacker_free(struct unpacker *u)
{
    if (u->stream) {
        inflateEnd(u->stream);
        free(u->stream);
        u->stream = NULL;
    }
}

enum unpack_event unpacker_run(struct unpacker *u, const char **in, size_t *in_len, char *out, size_t room, size_t *got)
{
    *got = 0;
    if (!u->stream) {
        *got = *in_len < room ? *in_len : room;
        memcpy(out, *in, *got);
        *in += *got;
        *in_len -= *got;
        return UNPACK_OK;
    }
    z_stream *z = u->stream;
    if (u->ended) {
        if (*in_len == 0)
            return UNPACK_OK;
        /* A second gzip member behind the first is allowed by RFC 1952. */
        if (inflateReset(z) != Z_OK)
            return UNPACK_CORRUPT;
        u->ended = false;
    }
    z->next_in = (Bytef *)(size_t)*in;
    z->avail_in = (uInt)*in_len;
    z->next_out = (Bytef *)out;
    z->avail_out = (uInt)room;
    int r = inflate(z, Z_NO_FLUSH);
    *in += *in_len - z->avail_in;
    *in_len = z->avail_in;
    *got = room - z->avail_out;
    if (r == Z_STREAM_END)
        u->ended = true;
    else if (r == Z_MEM_ERROR)
        return UNPACK_NO_MEMORY;
    else if (r != Z_OK && r != Z_BUF_ERROR)
        return UNPACK_CORRUPT;
    return UNPACK_OK;
}

bool unpacker_whole(const struct unpacker *u)
{
    return !u->stream || u->ended;
}

static void sink_init(struct sink *s, enum sink_kind kind)
{
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->fd = -1;
}

void sink_init_memory(struct sink *s, size_t max)
{
    sink_init(s, SINK_MEMORY);
    buf_init(&s->memory, max);
}

void sink_init_file(struct sink *s, int fd, const char *path, bool skip_line)
{
    sink_init(s, SINK_FILE);
    s->fd = fd;
    s->path = strdup(path);
    s->skip_line = skip_line;
    buf_init(&s->memory, HEADER_MAX);
}

bool sink_init_queue(struct sink *s)
{
    sink_init(s, SINK_QUEUE);
    return queue_init(&s->queue, SINK_QUEUE_BYTES);
}

void sink_free(struct sink *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    free(s->path);
    s->path = NULL;
    buf_free(&s->memory);
    queue_free(&s->queue);
    unpacker_free(&s->unpacker);
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

enum packing packing_add(enum packing packing, const char *value, size_t len)
{
    static const char space[] = " \t";
    for (size_t at = 0, end; at < len; at = end + 1) {
        const char *comma = memchr(value + at, ',', len - at);
        end = comma ? (size_t)(comma - value) : len;
        const char *word = value + at;
        size_t n = end - at;
        while (n && strchr(space, word[0])) {
            word++;
            n--;
        }
        while (n && strchr(space, word[n - 1]))
            n--;
        if (n == 0 || is_word(word, n, "identity"))
            continue;
        bool gzip = is_word(word, n, "gzip") || is_word(word, n, "x-gzip");
        packing = gzip && packing == PACKING_NONE ? PACKING_GZIP : PACKING_UNKNOWN;
    }
    return packing;
}

bool sink_begin(struct sink *s, bool gzip)
{
    s->gzip = gzip;
    unpacker_free(&s->unpacker);
    return s->kind == SINK_QUEUE || unpacker_init(&s->unpacker, gzip);
}

static enum sink_event write_file(struct sink *s, const char *data, size_t n)
{
    if (s->counted)
        csv_count_add(&s->count, data, n);
    if (!s->headed) {
        size_t line = csv_first_line(data, n, &s->quoted, &s->headed);
        if (!buf_add(&s->memory, data, line))
            return s->memory.overflown ? SINK_TOO_LONG : SINK_NO_MEMORY;
        if (s->skip_line) {
            data += line;
            n -= line;
        }
    }
    while (n) {
        ssize_t w = write(s->fd, data, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            s->error = errno;
            return SINK_IO;
        }
        data += w;
        n -= (size_t)w;
        s->written += w;
    }
    return SINK_OK;
}

static enum sink_event write_memory(struct sink *s, const char *data, size_t n)
{
    size_t room = s->memory.max - s->memory.len;
    size_t kept = n < room ? n : room;
    if (!buf_add(&s->memory, data, kept))
        return SINK_NO_MEMORY;
    s->written += (off_t)kept;
    s->cut = kept < n;
    return s->cut ? SINK_TOO_LONG : SINK_OK;
}

static enum sink_event write_unpacked(struct sink *s, const char *data, size_t n)
{
    return s->kind == SINK_FILE ? write_file(s, data, n) : write_memory(s, data, n);
}

enum sink_event sink_write(struct sink *s, const char *data, size_t n, bool *wake)
{
    *wake = false;
    if (s->kind == SINK_QUEUE)
        return queue_put(&s->queue, data, n, true, wake) == n ? SINK_OK : SINK_FULL;
    if (s->cut)
        return SINK_TOO_LONG;
    if (!s->gzip)
        return write_unpacked(s, data, n);
    char out[UNPACK_BYTES];
    size_t got;
    do {
        enum unpack_event u = unpacker_run(&s->unpacker, &data, &n, out, sizeof out, &got);
        if (u != UNPACK_OK)
            return u == UNPACK_NO_MEMORY ? SINK_NO_MEMORY : SINK_CORRUPT;
        enum sink_event e = write_unpacked(s, out, got);
        if (e != SINK_OK)
            return e;
    } while (n || got == sizeof out);
    return SINK_OK;
}

bool sink_whole(const struct sink *s)
{
    return s->kind == SINK_QUEUE || s->cut || unpacker_whole(&s->unpacker);
}
