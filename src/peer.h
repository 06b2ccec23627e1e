/* What the other end of a TCP connection has taken. Bytes that were handed to the kernel may lie there for long. */
#ifndef BULKJOB_PEER_H
#define BULKJOB_PEER_H

#include <stdbool.h>

struct peer_state {
    unsigned long long taken; /* bytes that the peer's kernel has confirmed, since the connection was made */
    bool pending;             /* bytes of ours still wait to be confirmed */
};

/* False where the kernel cannot say, or when `fd` is no TCP socket. */
bool peer_look(int fd, struct peer_state *state);

#endif
