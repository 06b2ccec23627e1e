#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

void listener_init(struct listener *l)
{
    l->fd = l->path = -1;
}

void listener_close(struct listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->path >= 0)
        close(l->path);
    listener_init(l);
}

#ifdef __linux__

/* Binds it as "<directory>/s" and opens the way to it, so that the name can go. */
static bool bind_in(struct listener *l, const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    if (n < 0 || (size_t)n >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (bind(l->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return false;
    l->path = open(address.sun_path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    int why = errno;
    unlink(address.sun_path);
    errno = why;
    return l->path >= 0;
}

bool listener_open(struct listener *l)
{
    const char *const places[] = {getenv("TMPDIR"), "/tmp", "/dev/shm"};
    l->pid = getpid();
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && l->path < 0; i++) {
        char directory[sizeof((struct sockaddr_un *)0)->sun_path];
        if (!places[i] ||
            snprintf(directory, sizeof directory, "%s/bulkjob-XXXXXX", places[i]) >= (int)sizeof directory ||
            !mkdtemp(directory))
            continue;
        bind_in(l, directory);
        int why = errno;
        rmdir(directory);
        errno = why;
    }
    if (l->path >= 0 && listen(l->fd, BACKLOG) == 0)
        return true;
    int why = errno;
    listener_close(l);
    errno = why;
    return false;
}

static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && peer.pid == getpid();
}

int listener_accept(struct listener *l)
{
    int last = -1;
    int why = ENOTCONN;
    /* What is older was left behind by somebody who never came here. */
    for (;;) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                why = errno;
            break;
        }
        if (!is_ours(fd)) {
            close(fd);
            continue;
        }
        if (last >= 0)
            close(last);
        last = fd;
    }
    errno = why;
    return last;
}

#else

bool listener_open(struct listener *l)
{
    (void)l;
    errno = ENOSYS;
    return false;
}

int listener_accept(struct listener *l)
{
    (void)l;
    errno = ENOSYS;
    return -1;
}

#endif
