/* One HTTP request and its answer. Made and read by the host's thread, carried out by the engine's. */
#ifndef BULKJOB_TRANSFER_H
#define BULKJOB_TRANSFER_H

#include "buf.h"
#include "peer.h"
#include "settings.h"
#include "sink.h"
#include "slot.h"
#include "source.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct channel;

/* Why the engine itself ended a transfer; libcurl's own reasons are in `code`. */
enum stop_reason {
    STOP_NONE,
    STOP_CANCELLED,
    STOP_SILENCE,  /* no byte for settings->timeout seconds */
    STOP_DEADLINE, /* not done when `deadline` came, or the answer not whole long after it began */
    STOP_SOURCE,   /* the source could not be read */
    STOP_SINK,     /* the sink could not be written, or took no more */
    STOP_HEADERS,  /* the headers of the response do not end */
    STOP_RESEND,   /* libcurl was about to send it a second time */
    STOP_CORRUPT,  /* the gzip body is broken or cut */
    STOP_PACKING,  /* the body is packed in a way that nobody asked for */
    STOP_NO_MEMORY,
};

enum { TRANSFER_START = 1, TRANSFER_CANCEL = 2, TRANSFER_UNPAUSE = 4 };

struct transfer {
    atomic_int refs; /* one by the host, one by each list of the engine that holds it */

    /* What to do. Set before the start, untouched after. */
    const char *method;         /* static */
    char *url;                  /* owned */
    struct curl_slist *headers; /* owned; holds the token, so it is wiped */
    struct source source;
    struct sink sink;          /* takes the body of a 2xx; that of any other answer goes to memory in its place */
    struct settings *settings; /* a reference */
    bool bulk;                 /* rows, not a small call: it gets a connection of its own */
    bool fresh;                /* it must not go out over a kept connection, which may turn out to be dead */
    double deadline; /* on the clock of clock_now: when it ends at the latest, wherever it is; negative: none */

    /* What came of it. The host reads these when `done` is set; `begun` says the same for status and headers. */
    atomic_bool done;
    atomic_bool begun; /* a 2xx with a body for the sink has begun */
    CURLcode code;
    enum stop_reason stop;
    char error[CURL_ERROR_SIZE];
    long status;           /* of the answer, from 200 on; 0: no answer */
    struct buf headers_in; /* the lines of the last header block */
    bool request_sent;     /* at least a byte of the request went out */
    bool proxy_refused;    /* by what it answered, it would do so again */
    double seconds;        /* from start to end */
    curl_off_t bytes_out;
    curl_off_t bytes_in;

    /* The engine's own. */
    void (*news)(struct transfer *); /* tells the host that there are bytes to take or room to put */
    CURL *easy;                      /* NULL: not running */
    bool reused;                     /* another transfer had it before */
    struct slot slot;                /* of its origin; of none when the host paces it */
    bool failed;                     /* it has to be ended, for the reason in `stop` or `code` */
    bool connected;                  /* the request is on its way over a connection */
    bool header_ended;               /* the block in headers_in is complete */
    double answer_by;                /* when an answer that has begun has to be whole; negative: any time */
    size_t header_bytes;             /* of all blocks and trailers */
    bool body_begun;
    bool cut; /* the body of a refusal was read as far as we want it */
    bool in_paused;
    bool out_paused;
    double started;
    double last_byte;         /* when the peer last sent or took something */
    curl_socket_t socket;     /* that libcurl has told of last */
    bool delivered;           /* the peer has all of the request */
    unsigned long long taken; /* by the peer, when we last looked */
    struct transfer *next;    /* among those that were handed over and are not done */
    struct transfer **at;

    /* In the engine's command list while `commands` is not 0. Whoever makes that so may write to command_next. */
    atomic_int commands; /* TRANSFER_… not yet taken */
    struct transfer *command_next;

    pthread_mutex_t source_lock; /* held while the source is read */
    bool detached;               /* under it: the host has taken the texts of the source away */

    pthread_mutex_t lock;              /* guards what follows; the host's thread alone writes to `channel` */
    struct channel *channel;           /* a reference; where its news go. NULL: nobody has waited for it yet */
    void (*unwatch)(struct channel *); /* gives it up */
    bool missed;                       /* there was news, and nowhere to go with it */

    /* Under the channel's lock. */
    bool listed;
    struct transfer *listed_next;

    /* The host's own. */
    double tag; /* what the waiter knows it by */
};

/* NULL: out of memory. The URL is copied. The sink is a small memory one until the caller sets another. */
struct transfer *transfer_new(struct settings *settings, const char *method, const char *url);
struct transfer *transfer_ref(struct transfer *t);
void transfer_unref(struct transfer *t);

/* The texts that the source reads from are going away: it reads nothing more. */
void transfer_detach(struct transfer *t);

/* Adds "Name: value". False: out of memory, or a line break in it (which would begin another header). */
bool transfer_add_header(struct transfer *t, const char *name, const char *value);

/* The value of a header of the answer, or NULL. It ends at *len; it is not NUL-terminated. */
const char *transfer_header(const struct transfer *t, const char *name, size_t *len);

/* Can the host hold it up, by not taking or not giving bytes? True only before the body of a refusal came. */
bool transfer_is_paced(const struct transfer *t);

/* Once, before the first transfer: asks libcurl what it can do. */
void transfer_global_init(void);

/* Can it have a handle that another transfer like it had, with the same settings and scheme? */
bool transfer_may_share(const struct transfer *t);

/* The engine's thread: makes the easy handle ready to be added: a new one, or `kept`, which belongs to the transfer
 * then. Anything but CURLE_OK: libcurl refused an option, or there was no memory, and the transfer must not be made. */
CURLcode transfer_setup(struct transfer *t, CURL *kept);

/* The engine's thread: does it have to be ended, since it failed, its deadline came, or it was silent for too long?
 * Then `stop` says why. Else *again is when to ask again (negative: no need), sooner only after it was started or
 * unpaused. */
bool transfer_is_over(struct transfer *t, double now, double *again);
/* The engine's thread: the transfer is over; takes what libcurl knows. Answers the easy handle if another one can have
 * it, else it is freed and the answer NULL. */
CURL *transfer_finish(struct transfer *t, CURLcode code);

#endif
