/* A descriptor by which one thread wakes another: it becomes readable. */
#ifndef BULKJOB_WAKEUP_H
#define BULKJOB_WAKEUP_H

#include <stdbool.h>

/* An eventfd is both ends in one descriptor; a pipe has two; of a socket somebody else has the other end. */
struct wakeup {
    int write_fd; /* -1: closed */
    int read_fd;  /* -1: somebody else's */
};

void wakeup_init(struct wakeup *w);
/* False, with errno, when no descriptor can be had. */
bool wakeup_open(struct wakeup *w);
/* Takes over one end of a connected socket; whoever has the other can wait for a byte. */
void wakeup_attach(struct wakeup *w, int fd);
/* Has the other end of the socket been closed? */
bool wakeup_peer_closed(const struct wakeup *w);
/* Twice is harmless. */
void wakeup_close(struct wakeup *w);
/* Makes it readable. */
void wakeup_send(const struct wakeup *w);
/* Makes it unreadable until the next wakeup_send. */
void wakeup_clear(const struct wakeup *w);

#endif
