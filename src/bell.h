/* A descriptor that one thread makes readable for another. */
#ifndef BULKJOB_BELL_H
#define BULKJOB_BELL_H

#include <stdbool.h>

/* An eventfd has both ends in one; a pipe has two, and of a socket somebody else has the other. */
struct bell {
    int in;  /* -1: closed */
    int out; /* -1: somebody else's */
};

void bell_init(struct bell *b);
/* False, with errno, when no descriptor can be had. */
bool bell_open(struct bell *b);
/* Takes over one end of a connected socket; whoever has the other can wait for a byte. */
void bell_adopt(struct bell *b, int fd);
/* Has the one at the other end of the socket closed it? */
bool bell_is_deserted(const struct bell *b);
/* Twice is harmless. */
void bell_close(struct bell *b);
void bell_ring(const struct bell *b);
/* Unreadable until it is rung again. */
void bell_quiet(const struct bell *b);

#endif
