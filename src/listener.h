/* A unix socket of this process's own, for hosts that can connect to a path but cannot watch a descriptor. */
#ifndef BULKJOB_LISTENER_H
#define BULKJOB_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

struct listener {
    pid_t pid;
    int fd;   /* -1: closed */
    int path; /* the way to it, since it has no name any more: /proc/self/fd/<path> */
};

void listener_init(struct listener *l);
/* Bound in a directory that nobody else can enter, and unlinked at once. False, with errno. */
bool listener_open(struct listener *l);
void listener_close(struct listener *l);

/* Our end of the connection that this process made last. It must have been made just now: whoever connects calls this
 * before anybody else may connect. -1, with errno. */
int listener_accept(struct listener *l);

#endif
