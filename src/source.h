/* Where the body of a request comes from. Read by the engine's thread only. */
#ifndef BULKJOB_SOURCE_H
#define BULKJOB_SOURCE_H

#include "digest.h"
#include "queue.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum source_kind {
    SOURCE_NONE,  /* no body */
    SOURCE_TEXT,  /* a short text of its own, which libcurl sends in one piece with the headers */
    SOURCE_BYTES, /* memory that stays where it is until the transfer is done */
    SOURCE_FILE,  /* a range of a file, behind some bytes of memory */
    SOURCE_QUEUE, /* what the host puts in as it goes */
};

enum source_event { SOURCE_DATA, SOURCE_END, SOURCE_WAIT, SOURCE_FAILED };

/* Why a source failed. */
enum source_failure {
    SOURCE_UNREADABLE, /* errno in `error` */
    SOURCE_SHORTER,    /* the file has become shorter since its size was asked for */
    SOURCE_CHANGED,    /* the body is not the one that its checksum was taken of */
};

struct source {
    enum source_kind kind;
    char *text;        /* of SOURCE_TEXT: owned; it may hold a secret, so it is wiped */
    const char *bytes; /* of SOURCE_FILE: what comes before the range */
    size_t len;
    int fd;      /* owned */
    char *path;  /* owned; for messages. NULL: it is no file, or there was no memory for its name */
    off_t first; /* of the file range */
    off_t size;  /* of the file range */
    struct queue queue;
    atomic_llong sent;           /* bytes read from it so far; the host may look */
    bool whole_sent;             /* the end was reached, and the body was the expected one */
    enum source_failure failure; /* with SOURCE_FAILED */
    int error;

    struct digest *sum;            /* of the bytes read so far; NULL: none were */
    char digest[DIGEST_HEX + 1];   /* of the whole body, when it was sent whole; "" before */
    char expected[DIGEST_HEX + 1]; /* what that has to be; "": anything */
};

/* No body. Each init below makes it the source named, free() always fits. */
void source_init(struct source *s);
bool source_init_text(struct source *s, const char *text, size_t len); /* copied; false: out of memory */
void source_init_bytes(struct source *s, const char *bytes, size_t len);
/* `fd` then belongs to the source; the path is copied. The `len` bytes go before the range. */
void source_init_file(struct source *s, int fd, const char *path, off_t first, off_t size, const char *bytes,
                      size_t len);
bool source_init_queue(struct source *s); /* false: out of memory */
void source_free(struct source *s);

/* From now on a body with another checksum than this one (DIGEST_BODY) never goes out whole: the read that would end it
 * fails in place of that. */
void source_expect(struct source *s, const char *digest);

/* Bytes in all; -1 when nobody knows yet. */
off_t source_size(const struct source *s);

/* Was it read to its end? One without a byte need not be read for that. */
bool source_is_whole(const struct source *s);

/* Reads up to `n` bytes. SOURCE_WAIT: none yet, the host has to put some in. *wake: the host waits for room, and there
 * is. */
enum source_event source_read(struct source *s, char *out, size_t n, size_t *got, bool *wake);

#endif
