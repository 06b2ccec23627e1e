#include "download.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { RAW_BYTES = 16 * 1024 };

void download_begin(struct download *in)
{
    unpacker_free(&in->unpacker);
    in->raw_at = in->raw_len = 0;
    in->open = in->corrupt = false;
    in->passed = 0;
    in->skip_crc = 0;
}

void download_free(struct download *in)
{
    unpacker_free(&in->unpacker);
    free(in->raw);
    memset(in, 0, sizeof *in);
}

/* Takes the part of `out` that the host has already out of it. Answers the bytes that are new, now at the start. */
static size_t skip_handed(struct download *in, char *out, size_t n)
{
    off_t missing = in->handed - in->passed;
    size_t old = (off_t)n < missing ? n : (size_t)missing;
    in->passed += (off_t)n;
    if (old) {
        in->skip_crc = crc32(in->skip_crc, (const Bytef *)out, (uInt)old);
        if (in->passed >= in->handed && in->skip_crc != in->crc) {
            in->differs = true;
            return 0;
        }
        memmove(out, out + old, n - old);
    }
    n -= old;
    in->crc = crc32(in->crc, (const Bytef *)out, (uInt)n);
    in->handed += (off_t)n;
    return n;
}

bool download_take(struct download *in, struct queue *q, bool gzip, char *out, size_t room, size_t *got, bool *wake)
{
    *got = 0;
    *wake = false;
    if (in->corrupt || in->differs)
        return true;
    if (!in->raw && !(in->raw = malloc(RAW_BYTES)))
        return false;
    if (!in->open && !(in->open = unpacker_init(&in->unpacker, gzip)))
        return false;
    for (;;) {
        if (in->raw_len == 0) {
            bool ended;
            bool room_now;
            in->raw_at = 0;
            in->raw_len = queue_take(q, in->raw, RAW_BYTES, &ended, &room_now);
            *wake = *wake || room_now;
        }
        bool had_input = in->raw_len > 0;
        const char *from = in->raw + in->raw_at;
        enum unpack_event e = unpacker_run(&in->unpacker, &from, &in->raw_len, out, room, got);
        in->raw_at = (size_t)(from - in->raw);
        if (e == UNPACK_NO_MEMORY)
            return false;
        if (e == UNPACK_CORRUPT) {
            in->corrupt = true;
            *got = 0;
            return true;
        }
        *got = skip_handed(in, out, *got);
        if (*got || in->differs || !had_input)
            return true;
    }
}

bool download_is_empty(const struct download *in)
{
    return in->open && in->raw_len == 0;
}

bool download_end(struct download *in)
{
    if (in->open && !unpacker_whole(&in->unpacker))
        in->corrupt = true;
    else if (in->passed < in->handed)
        in->differs = true;
    return !in->corrupt && !in->differs;
}
