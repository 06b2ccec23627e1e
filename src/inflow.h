/* A download on its way to the host, unpacked. What was handed over cannot be taken back, so a download that breaks is
 * begun again, and the part that the host has is skipped, if its checksum is the same. */
#ifndef BULKJOB_INFLOW_H
#define BULKJOB_INFLOW_H

#include "queue.h"
#include "sink.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct inflow {
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

/* Another download of the same begins. The first one needs no call: an inflow of zero bytes is ready. */
void inflow_begin(struct inflow *in);
void inflow_free(struct inflow *in);

/* Takes from the queue, unpacks, and leaves at most `room` bytes that are new in `out`; *got: how many, 0 when there
 * are none now. *wake: the writer of the queue waits for room, and there is. False: out of memory. With `corrupt` or
 * `differs` set there will be no more. */
bool inflow_take(struct inflow *in, struct queue *q, bool gzip, char *out, size_t room, size_t *got, bool *wake);

/* May the host find more in it, or in the drained queue behind it? */
bool inflow_is_empty(const struct inflow *in);

/* The download is over and was taken to its end: checks that it was whole, and no shorter than the one before. Sets
 * `corrupt` or `differs` if not. */
bool inflow_end(struct inflow *in);

#endif
