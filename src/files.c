#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MOST_LINKS = 40, /* as Linux has it */
    LINK_BYTES = 4096,
    PART_TRIES = 100,
    LINE_PIECE = 4096,
};

const char *file_error(int why)
{
    switch (why) {
    case FILE_NOT_REGULAR:
        return "a regular file expected";
    case FILE_NO_INPUT:
        return "a regular file expected; for a pipe, give a function that reads from it";
    case FILE_NO_READER:
        return "no program has this pipe open for reading";
    case FILE_REPLACED:
        return "another file was put in the place of the one that was being written";
    default:
        return strerror(why);
    }
}

/* Checks that it is a regular file. 0, or why not. */
static int check_regular(int fd, struct stat *st)
{
    if (fstat(fd, st) != 0)
        return errno;
    return S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? EISDIR : FILE_NOT_REGULAR;
}

/* Opens without waiting for anybody, and closes again what is no regular file. */
static int open_regular(const char *path, int flags, mode_t mode, struct stat *st, int *why)
{
    int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);
    *why = fd < 0 ? errno : check_regular(fd, st);
    if (fd < 0 && *why == ENXIO) /* a pipe that nobody reads, or a socket */
        *why = FILE_NOT_REGULAR;
    if (fd >= 0 && *why) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int file_open_input(const char *path, off_t *size, int *why)
{
    struct stat st;
    int fd = open_regular(path, O_RDONLY, 0, &st, why);
    if (fd >= 0)
        *size = st.st_size;
    else if (*why == FILE_NOT_REGULAR)
        *why = FILE_NO_INPUT;
    return fd;
}

int file_open_own(const char *path, mode_t mode, int *why)
{
    struct stat st;
    return open_regular(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, mode, &st, why);
}

/* How many bytes of the path name its directory, the slash included. */
static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash + 1 - path) : 0;
}

/* A new string of `len` bytes of `a` and then all of `b` and `c`. NULL: out of memory. */
static char *join(const char *a, size_t len, const char *b, const char *c)
{
    size_t room = len + strlen(b) + strlen(c) + 1;
    char *text = malloc(room);
    if (text)
        snprintf(text, room, "%.*s%s%s", (int)len, a, b, c);
    return text;
}

void file_sync_directory(const char *path)
{
    size_t len = directory_length(path);
    char *directory = join(path, len, len ? "" : ".", "");
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(directory);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static int write_at_end(int fd, const char *data, size_t n)
{
    off_t end = lseek(fd, 0, SEEK_END);
    while (end >= 0 && n) {
        ssize_t w = pwrite(fd, data, n, end);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno;
        data += w;
        n -= (size_t)w;
        end += w;
    }
    return end < 0 ? errno : 0;
}

int file_end_last_line(int fd)
{
    char piece[LINE_PIECE];
    char before = 0;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return errno;
    if (end == 0)
        return 0;
    if (pread(fd, piece, 1, end - 1) != 1)
        return errno;
    if (piece[0] == '\n')
        return 0;
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, piece, sizeof piece, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        const char *line_end = memchr(piece, '\n', (size_t)n);
        if (line_end && line_end > piece)
            before = line_end[-1];
        if (line_end || n == 0)
            break;
        before = piece[n - 1];
        at += n;
    }
    return before == '\r' ? write_at_end(fd, "\r\n", 2) : write_at_end(fd, "\n", 1);
}

/* ---- output ---- */

/* Does it stand for an open descriptor of some process, whatever that is? Such as /proc/self/fd/1, but not all that can
 * be reached through /proc. */
static bool is_descriptor(const char *path)
{
    size_t len = directory_length(path);
    return (strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/", 5) == 0) && len > 4 &&
           strncmp(path + len - 4, "/fd/", 4) == 0 && strspn(path + len, "0123456789") == strlen(path + len);
}

/* Follows the symbolic links at the end of the path; there may be nothing where they lead. *direct: they lead to an
 * open descriptor. NULL: *why. */
static char *follow(const char *path, bool *direct, int *why)
{
    char *at = strdup(path);
    for (int links = 0; at && links <= MOST_LINKS; links++) {
        char link[LINK_BYTES];
        *direct = is_descriptor(at);
        ssize_t n = *direct ? -1 : readlink(at, link, sizeof link - 1);
        if (n < 0)
            return at;
        link[n] = '\0';
        char *next = join(at, link[0] == '/' ? 0 : directory_length(at), link, "");
        free(at);
        at = next;
    }
    *why = at ? ELOOP : ENOMEM;
    free(at);
    return NULL;
}

/* Is the file at the path the one that the descriptor has open? */
static bool is_same(const char *path, int fd)
{
    struct stat a;
    struct stat b;
    return lstat(path, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A lock says that the file is being written. Where there are no locks, nothing can be said. */
static bool is_locked_by_other(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/* Removes what a crash of ours has left at this path. False: it is something else, or is being written. */
static bool remove_left_over(const char *path)
{
    struct stat st;
    int why;
    int fd = open_regular(path, O_RDONLY | O_NOFOLLOW, 0, &st, &why);
    bool ours = fd >= 0 && st.st_uid == geteuid() && st.st_nlink == 1 && !is_locked_by_other(fd) && is_same(path, fd) &&
                unlink(path) == 0;
    if (fd >= 0)
        close(fd);
    return ours;
}

/* Makes the part, which no link leads away from and no other program writes. `plain`: if it can be had, under the name
 * that people know. */
static int open_part(struct output *o, bool plain)
{
    for (int i = 0; i < PART_TRIES; i++) {
        char number[24] = "";
        unsigned long long random;
        if (!plain) {
            if (getentropy(&random, sizeof random) != 0)
                return errno;
            snprintf(number, sizeof number, ".%016llx", random);
        }
        free(o->part);
        o->part = join(o->target, strlen(o->target), number, ".bulkjob-part");
        if (!o->part)
            return ENOMEM;
        o->fd = open(o->part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (o->fd >= 0 && !is_locked_by_other(o->fd) && is_same(o->part, o->fd))
            return 0;
        if (o->fd < 0 && errno != EEXIST)
            return errno;
        if (o->fd >= 0)
            close(o->fd); /* another took it for a left-over between these two steps */
        else if (plain && remove_left_over(o->part))
            continue;
        o->fd = -1;
        plain = false;
    }
    return EEXIST;
}

/* Owner and permissions as the old file had them. Where the owner cannot be kept, nobody may do more than with either
 * file. */
static int keep_permissions(int fd, const struct stat *old)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return errno;
    mode_t mode = old->st_mode & 0777;
    if ((st.st_uid != old->st_uid || st.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid) != 0)
        mode &= st.st_mode;
    return fchmod(fd, mode) == 0 ? 0 : errno;
}

/* Finds out where the path leads, and what is there. 0, or why not. */
static int look(struct output *o, const char *path, bool *there, struct stat *st)
{
    int why = 0;
    bool descriptor;
    memset(o, 0, sizeof *o);
    o->fd = -1;
    *there = stat(path, st) == 0;
    if (!*there && (errno != ENOENT || !path[0]))
        return errno;
    if (*there && S_ISDIR(st->st_mode))
        return EISDIR;
    o->target = follow(path, &descriptor, &why);
    o->direct = o->target && *there && (descriptor || !S_ISREG(st->st_mode));
    return why;
}

bool output_is_direct(const char *path)
{
    struct output o;
    struct stat st;
    bool there;
    bool direct = look(&o, path, &there, &st) == 0 && o.direct;
    output_discard(&o);
    return direct;
}

int output_begin(struct output *o, const char *path)
{
    struct stat st;
    bool there;
    int why = look(o, path, &there, &st);
    if (!why && o->direct) {
        o->fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (o->fd < 0)
            why = errno == ENXIO && S_ISFIFO(st.st_mode) ? FILE_NO_READER : errno;
    } else if (!why) {
        why = open_part(o, true);
        if (!why && there)
            why = keep_permissions(o->fd, &st);
    }
    if (why)
        output_discard(o);
    return why;
}

/* Writes to what may be a pipe that nobody reads any more, which is an error and must not end the host. */
static ssize_t write_quietly(int fd, const char *data, size_t n)
{
    sigset_t pipe_signal;
    sigset_t before;
    sigset_t pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    bool waited = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t w = write(fd, data, n);
    int why = errno;
    if (w < 0 && why == EPIPE && !waited && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE)) {
        int taken;
        sigwait(&pipe_signal, &taken);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return w;
}

ssize_t output_write(struct output *o, const char *data, size_t n, int *why)
{
    ssize_t w;
    do
        w = write_quietly(o->fd, data, n);
    while (w < 0 && errno == EINTR);
    if (w < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    *why = w < 0 ? errno : 0;
    return w;
}

/* Gives `from`, which the descriptor has open, the name of the output. */
static int rename_to_target(struct output *o, const char *from, int fd)
{
    if (fsync(fd) != 0)
        return errno;
    if (!is_same(from, fd))
        return FILE_REPLACED;
    if (rename(from, o->target) != 0)
        return errno;
    file_sync_directory(o->target);
    return 0;
}

int output_publish(struct output *o)
{
    int why = rename_to_target(o, o->part, o->fd);
    if (!why) { /* the name of the part is free, and may be another's by now */
        free(o->part);
        o->part = NULL;
    }
    output_discard(o);
    return why;
}

void output_discard(struct output *o)
{
    if (o->part && o->fd >= 0 && is_same(o->part, o->fd))
        unlink(o->part);
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    free(o->part);
    free(o->target);
    o->part = o->target = NULL;
}

/* What a new file at the target of `o` would be: whose, and with which permissions. Where that can be had no name is
 * made for it, since a kill would leave that behind. */
static int look_at_new(struct output *o, struct stat *st)
{
    int why = 0;
#ifdef O_TMPFILE
    size_t len = directory_length(o->target);
    char *directory = join(o->target, len, len ? "" : ".", "");
    int fd = directory ? open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
    free(directory);
    if (fd >= 0) {
        why = fstat(fd, st) == 0 ? 0 : errno;
        close(fd);
        return why;
    }
#endif
    why = open_part(o, false); /* its plain name may be that of the file that is to come there */
    if (!why && fstat(o->fd, st) != 0)
        why = errno;
    return why;
}

int file_publish(const char *from, const char *path)
{
    struct output o;
    struct stat st;
    struct stat own;
    bool there;
    int fd = -1;
    int why = look(&o, path, &there, &st);
    if (!why && o.direct) /* not opened: whoever reads from a pipe would see its end */
        why = FILE_NOT_REGULAR;
    if (!why && !there)
        why = look_at_new(&o, &st);
    if (!why)
        fd = open_regular(from, O_RDONLY | O_NOFOLLOW, 0, &own, &why);
    if (!why)
        why = keep_permissions(fd, &st);
    if (!why)
        why = rename_to_target(&o, from, fd);
    if (fd >= 0)
        close(fd);
    output_discard(&o);
    return why;
}
