#include "wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

void wakeup_init(struct wakeup *w)
{
    w->write_fd = w->read_fd = -1;
}

bool wakeup_open(struct wakeup *w)
{
#ifdef __linux__
    w->write_fd = w->read_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->write_fd >= 0;
#else
    int fds[2];
    if (pipe(fds) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    w->read_fd = fds[0];
    w->write_fd = fds[1];
    return true;
#endif
}

void wakeup_attach(struct wakeup *w, int fd)
{
    w->write_fd = fd;
    w->read_fd = -1;
}

bool wakeup_peer_closed(const struct wakeup *w)
{
    char byte;
    return w->write_fd >= 0 && w->read_fd < 0 && recv(w->write_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void wakeup_close(struct wakeup *w)
{
    if (w->write_fd >= 0)
        close(w->write_fd);
    if (w->read_fd >= 0 && w->read_fd != w->write_fd)
        close(w->read_fd);
    wakeup_init(w);
}

void wakeup_send(const struct wakeup *w)
{
    const uint64_t one = 1;
    ssize_t n;
    do /* a write to a socket that the other side has closed would raise SIGPIPE */
        n = w->read_fd < 0 ? send(w->write_fd, &one, sizeof one, MSG_NOSIGNAL | MSG_DONTWAIT)
                           : write(w->write_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void wakeup_clear(const struct wakeup *w)
{
    uint64_t buf[16];
    ssize_t n;
    if (w->read_fd < 0)
        return;
    do
        n = read(w->read_fd, buf, sizeof buf);
    while ((n < 0 && errno == EINTR) || n == (ssize_t)sizeof buf);
}
