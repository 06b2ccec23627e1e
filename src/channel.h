/* Where the news of transfers go: a list that the engine's thread fills, and one waiter of the host empties. A task
 * loop has one for all its tasks, a coroutine of another loop has one while it waits. */
#ifndef BULKJOB_CHANNEL_H
#define BULKJOB_CHANNEL_H

#include "wakeup.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct transfer;

struct channel {
    atomic_int refs; /* one by the host, one by each transfer that is watched through it */
    pid_t pid;
    atomic_int news; /* transfers in the list */

    /* Who sleeps in channel_sleep needs no descriptor, and is woken when the lock is free again. */
    atomic_bool sleeping;
    atomic_uint wakes; /* grows with each wake-up of a sleeper */

    pthread_mutex_t lock; /* guards what follows, and `listed` of the transfers in the list */
    bool closed;
    struct transfer *first;
    struct transfer **last;
    struct wakeup wakeup; /* closed as long as nobody needs a descriptor */
    bool woken;           /* without news, and nobody has seen it yet */
    bool sent;            /* the wakeup was sent since it was last cleared */

    /* Under the lock of the engine that has it in its list. */
    struct channel *engine_next;
    double deadline; /* when to wake the waiter even without news; negative: never */
    bool has_socket;
    bool abandoned; /* whoever waited at the other end of the socket is gone */
};

/* NULL: out of memory. The host's thread only, where nothing else is said. */
struct channel *channel_new(void);
struct channel *channel_ref(struct channel *c);
void channel_unref(struct channel *c);

/* Forgets all news, and takes none any more. Twice is harmless. */
void channel_close(struct channel *c);

/* Was this process forked from the one that made the channel? Then its descriptor is shared, and must not be read. */
bool channel_is_foreign(const struct channel *c);

/* The engine's thread too: there is news of the transfer. False: the channel is closed. */
bool channel_put(struct channel *c, struct transfer *t);

/* Takes the transfer out of the list. True if it was there. */
bool channel_remove(struct channel *c, struct transfer *t);

/* The tag of the first transfer that has news (done, bytes to take, room to put), which stays where it is; with `drop`,
 * after the one that was first before is taken out. False when there is none, or when the engine's thread is just
 * bringing some: this never waits. */
bool channel_next(struct channel *c, bool drop, double *tag);

/* A descriptor that is readable when there is something for channel_next, and unreadable when there is nothing now. -1,
 * with errno, when none can be had. */
int channel_fd(struct channel *c);

/* Has one end of a socket in place of that descriptor, until the next channel_detach. Wakes at once if there is news
 * already. */
void channel_attach(struct channel *c, int fd);
void channel_detach(struct channel *c);

/* The engine's thread too: wakes the waiter even without news. */
void channel_wake(struct channel *c);
/* The engine's thread too: has somebody closed the other end of the socket? Then ours is closed as well. */
bool channel_peer_closed(struct channel *c);

/* Sleeps until there is news, a signal came, or `seconds` have passed (negative: no limit). False, with errno, when no
 * descriptor can be had. */
bool channel_sleep(struct channel *c, double seconds);

#endif
