/* A download on its way to the host, unpacked. What was handed over cannot be taken back, so a download that breaks is
 * begun again, and the part that the host has is skipped, if its checksum is the same. */
#ifndef BULKJOB_DOWNLOAD_H
#define BULKJOB_DOWNLOAD_H

#include "queue.h"
#include "sink.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct download {
    char *raw; /* as it came, not unpacked yet */
    size_t raw_at;
    size_t raw_len;
    struct unpacker unpacker;
    bool open;              /* something of this download was taken */
    bool corrupt;           /* the gzip body is damaged */
    bool differs;           /* this download is not the same as the one before */
    off_t handed;           /* unpacked bytes that the host has */
    unsigned long crc;      /* of these */
    off_t passed;           /* unpacked bytes of this download, the skipped ones counted */
    unsigned long skip_crc; /* of the skipped ones */
};

/* Another download of the same begins. The first one needs no call: a download of zero bytes is ready. */
void download_begin(struct download *in);
void download_free(struct download *in);

/* Takes from the queue, unpacks, and leaves at most `room` bytes that are new in `out`; *got: how many, 0 when there
 * are none now. *wake: the writer of the queue waits for room, and there is. False: out of memory. With `corrupt` or
 * `differs` set there will be no more. */
bool download_take(struct download *in, struct queue *q, bool gzip, char *out, size_t room, size_t *got, bool *wake);

/* May the host find more in it, or in the drained queue behind it? */
bool download_is_empty(const struct download *in);

/* The download is over and was taken to its end: checks that it was whole, and no shorter than the one before. Sets
 * `corrupt` or `differs` if not. */
bool download_end(struct download *in);

#endif
