#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

void bell_init(struct bell *b)
{
    b->in = b->out = -1;
}

bool bell_open(struct bell *b)
{
#ifdef __linux__
    b->in = b->out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return b->in >= 0;
#else
    int fds[2];
    if (pipe(fds) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    b->out = fds[0];
    b->in = fds[1];
    return true;
#endif
}

void bell_adopt(struct bell *b, int fd)
{
    b->in = fd;
    b->out = -1;
}

bool bell_is_deserted(const struct bell *b)
{
    char byte;
    return b->in >= 0 && b->out < 0 && recv(b->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void bell_close(struct bell *b)
{
    if (b->in >= 0)
        close(b->in);
    if (b->out >= 0 && b->out != b->in)
        close(b->out);
    bell_init(b);
}

void bell_ring(const struct bell *b)
{
    const uint64_t one = 1;
    ssize_t n;
    do /* a write to a deserted socket would raise SIGPIPE */
        n = b->out < 0 ? send(b->in, &one, sizeof one, MSG_NOSIGNAL | MSG_DONTWAIT) : write(b->in, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void bell_quiet(const struct bell *b)
{
    uint64_t buf[16];
    ssize_t n;
    if (b->out < 0)
        return;
    do
        n = read(b->out, buf, sizeof buf);
    while ((n < 0 && errno == EINTR) || n == (ssize_t)sizeof buf);
}
