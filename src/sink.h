/* Where the body of an answer goes, unpacked on the way. */
#ifndef BULKJOB_SINK_H
#define BULKJOB_SINK_H

#include "buf.h"
#include "csv_count.h"
#include "queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* gzip, or plain bytes passed through. A body that ends inside the gzip stream is an error that libcurl alone would not
 * report, and unpacking behind the queue keeps a packed megabyte from becoming a gigabyte of memory. */
struct unpacker {
    void *stream; /* z_stream; NULL: plain */
    bool ended;   /* the last member is complete */
};

enum unpack_event { UNPACK_OK, UNPACK_CORRUPT, UNPACK_NO_MEMORY };

bool unpacker_init(struct unpacker *u, bool gzip);
void unpacker_free(struct unpacker *u);
/* Takes from in/in_len (both moved on) and fills out; *got bytes were written. */
enum unpack_event unpacker_run(struct unpacker *u, const char **in, size_t *in_len, char *out, size_t room,
                               size_t *got);
/* Was what came in a whole body? Plain bytes always are. */
bool unpacker_whole(const struct unpacker *u);

enum sink_kind {
    SINK_MEMORY, /* a buffer with a maximum */
    SINK_FILE,   /* a file, from where its descriptor stands */
    SINK_QUEUE,  /* bytes as they came, for the host to take and unpack */
};

enum sink_event { SINK_OK, SINK_FULL, SINK_TOO_LONG, SINK_NO_MEMORY, SINK_IO, SINK_CORRUPT };

/* How the body of an answer is packed. */
enum packing {
    PACKING_NONE,
    PACKING_GZIP,
    PACKING_UNKNOWN, /* a way that was not asked for and that nobody here can unpack */
};

struct sink {
    enum sink_kind kind;
    struct buf memory; /* of a file: its first line, the header */
    int fd;            /* owned */
    char *path;        /* owned; for messages. NULL: it is no file, or there was no memory for its name */
    bool skip_line;    /* leave out the first line: the header of a page that is not the first */
    bool headed;       /* the first line is over */
    bool quoted;       /* it goes on inside of quotes */
    bool counted;
    struct csv_count count; /* of a file that is counted */
    struct queue queue;
    struct unpacker unpacker; /* of memory and file */
    bool gzip;
    bool cut;      /* of memory: it holds its maximum, and what came behind that was dropped */
    off_t written; /* unpacked bytes, memory and file */
    int error;     /* errno of SINK_IO */
};

void sink_init_memory(struct sink *s, size_t max);
void sink_init_file(struct sink *s, int fd, const char *path, bool skip_line); /* the path is copied */
bool sink_init_queue(struct sink *s);                                          /* false: out of memory */
void sink_free(struct sink *s);

/* Adds the value of a Content-Encoding header to what those before it have told; begin with PACKING_NONE. */
enum packing packing_add(enum packing packing, const char *value, size_t len);

/* The body begins; `gzip` tells how it is packed. False: out of memory. */
bool sink_begin(struct sink *s, bool gzip);

/* Takes all of the bytes or none (SINK_FULL: ask again later). SINK_TOO_LONG: memory holds exactly its maximum, what is
 * behind that is dropped, and so is all that may still come. *wake: the host waits for it. */
enum sink_event sink_write(struct sink *s, const char *data, size_t n, bool *wake);

/* The body is complete as far as HTTP knows: is it, once unpacked? Not for queues, whose reader knows. */
bool sink_whole(const struct sink *s);

#endif
