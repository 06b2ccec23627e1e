/* Directories, and locks between processes: what a run needs that Lua's io library lacks, or a host has taken away. */
#include "files.h"
#include "l_class.h"
#include "l_error.h"
#include "l_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char LOCK_CLASS[] = "bulkjob.lock";
static const char LISTING_CLASS[] = "bulkjob.listing";

struct lock {
    int fd; /* -1: released */
};

static int release_lock(lua_State *L)
{
    struct lock *lock = bj_check_object(L, 1, LOCK_CLASS);
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
    return 0;
}

static int is_at(int fd, const char *path)
{
    struct stat mine;
    struct stat there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

/* core.lock(path) -> lock | nil, err: the lock of a directory, or of a file, which is made when there is none. It ends
 * with lock:close(), or with the process. err.code is "LOCKED" while another lock is held, also by this process, and
 * "GONE" when the path leads to another file by the time the lock is had: then begin again. */
static int new_lock(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct lock *lock = bj_new_object(L, LOCK_CLASS, sizeof *lock);
    lock->fd = -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0600);
    if (fd >= 0 && fd <= STDERR_FILENO) { /* what is printed must not go there */
        int low = fd;
        fd = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        int why = errno;
        close(low);
        errno = why;
    }
    if (fd < 0)
        return bj_fail(L, BJ_ERR_IO, errno == ENOENT ? "GONE" : NULL, "%s: %s", path, strerror(errno));
    lock->fd = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int locked = errno == EWOULDBLOCK;
        const char *why = locked ? "another process, or another call of this one, is using it" : strerror(errno);
        return bj_fail(L, BJ_ERR_IO, locked ? "LOCKED" : NULL, "%s: %s", path, why);
    }
    if (!is_at(fd, path))
        return bj_fail(L, BJ_ERR_IO, "GONE", "%s: it was removed", path);
    return 1;
}

static int close_listing(lua_State *L)
{
    DIR **listing = bj_check_object(L, 1, LISTING_CLASS);
    if (*listing)
        closedir(*listing);
    *listing = NULL;
    return 0;
}

/* core.list_directory(path) -> array of names | nil, err */
static int list_directory(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    DIR **listing = bj_new_object(L, LISTING_CLASS, sizeof *listing); /* which __gc closes when Lua has no memory */
    lua_newtable(L);
    *listing = opendir(path);
    if (!*listing)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    const struct dirent *entry;
    int i = 0;
    while ((entry = readdir(*listing)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            lua_pushstring(L, entry->d_name);
            lua_rawseti(L, 3, ++i);
        }
    closedir(*listing);
    *listing = NULL;
    return 1;
}

static int fail_to_make(lua_State *L, const char *directory, int why)
{
    return bj_fail(L, BJ_ERR_IO, NULL, "%s: nothing can be made there: %s", directory, strerror(why));
}

/* core.can_make(directory) -> true | nil, err: may this user make files there? Nothing is tried, since a kill would
 * leave that behind. */
static int can_make(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0)
        return fail_to_make(L, path, errno);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.temporary_directory(directory | nil, prefix) -> path | nil, err: a new one, for this user alone, in a directory,
 * or where temporary files go */
static int temporary_directory(lua_State *L)
{
    const char *place = getenv("TMPDIR");
    const char *directory = luaL_optstring(L, 1, place ? place : "/tmp");
    lua_pushfstring(L, "%s/%sXXXXXX", directory, luaL_checkstring(L, 2));
    size_t len;
    const char *pattern = lua_tolstring(L, -1, &len);
    char *path = lua_newuserdata(L, len + 1);
    memcpy(path, pattern, len + 1);
    if (!mkdtemp(path))
        return fail_to_make(L, directory, errno);
    lua_pushstring(L, path);
    return 1;
}

/* core.remove(path) -> true | nil, err: a file, or a directory with nothing in it */
static int remove_path(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (remove(path) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.rename(from, to) -> true | nil, err */
static int rename_path(lua_State *L)
{
    const char *to = luaL_checkstring(L, 2);
    if (rename(luaL_checkstring(L, 1), to) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", to, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.real_path(path) -> path | nil, err: from the root, and without symbolic links */
static int real_path(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char real[PATH_MAX];
    if (!realpath(path, real))
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    lua_pushstring(L, real);
    return 1;
}

/* core.same_file(a, b) -> boolean: do both paths lead to the same file or directory? */
static int same_file(lua_State *L)
{
    struct stat a;
    struct stat b;
    lua_pushboolean(L, stat(luaL_checkstring(L, 1), &a) == 0 && stat(luaL_checkstring(L, 2), &b) == 0 &&
                           a.st_dev == b.st_dev && a.st_ino == b.st_ino);
    return 1;
}

/* core.random_id() -> 16 hexadecimal digits */
static int random_id(lua_State *L)
{
    unsigned char bytes[8];
    char text[2 * sizeof bytes + 1];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return luaL_error(L, "bulkjob: no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    lua_pushstring(L, text);
    return 1;
}

void bj_open_directory(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"lock", new_lock},
        {"list_directory", list_directory},
        {"temporary_directory", temporary_directory},
        {"same_file", same_file},
        {"random_id", random_id},
        {"can_make", can_make},
        {"remove", remove_path},
        {"rename", rename_path},
        {"real_path", real_path},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"close", release_lock},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", release_lock},
        {NULL, NULL},
    };
    static const luaL_Reg listing_meta[] = {
        {"__gc", close_listing},
        {NULL, NULL},
    };
    bj_new_class(L, LOCK_CLASS, methods, meta);
    bj_new_class(L, LISTING_CLASS, NULL, listing_meta);
    bj_setfuncs(L, functions);
}
