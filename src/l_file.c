/* What Lua's io library lacks. */
#include "l_bulkjob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define LOG_CLASS "bulkjob.log"

enum { COPY_BYTES = 256 * 1024 };

/* Makes what was written to `path` outlast a power cut. */
static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int r = fsync(fd);
    int why = errno;
    close(fd);
    errno = why;
    return r;
}

/* core.publish(part, path) -> true | nil, err: gives a finished file its final name, in one step and for good. err.code
 * is "EXDEV" where the two are on different file systems. */
static int publish(lua_State *L)
{
    const char *part = luaL_checkstring(L, 1);
    const char *path = luaL_checkstring(L, 2);
    const char *slash = strrchr(path, '/');
    if (sync_path(part) != 0 || rename(part, path) != 0)
        return bj_fail(L, BJ_ERR_IO, errno == EXDEV ? "EXDEV" : NULL, "%s: %s", path, strerror(errno));
    /* The name is in the directory. Not every file system can sync one, and the file itself is safe by now. */
    lua_pushlstring(L, path, slash ? (size_t)(slash - path + 1) : 0);
    sync_path(slash ? lua_tostring(L, -1) : ".");
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- a log: lines that are appended, and are on the disk when that returns ---- */

struct log {
    int fd; /* -1: closed */
    off_t size;
};

static struct log *check_log(lua_State *L)
{
    struct log *log = luaL_checkudata(L, 1, LOG_CLASS);
    if (log->fd < 0)
        bj_raise(L, "bulkjob: this log is closed");
    return log;
}

static int close_log(lua_State *L)
{
    struct log *log = luaL_checkudata(L, 1, LOG_CLASS);
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
    return 0;
}

/* core.open_log(path) -> log | nil, err: made when there is none; err.code is "LOCKED" while another has it open */
static int open_log(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    struct log *log = bj_new_object(L, LOG_CLASS, sizeof *log);
    log->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0) {
        int locked = errno == EWOULDBLOCK;
        const char *why = locked ? "another process is using it" : strerror(errno);
        return bj_fail(L, BJ_ERR_IO, locked ? "LOCKED" : NULL, "%s: %s", path, why);
    }
    if (fstat(log->fd, &st) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    log->size = st.st_size;
    return 1;
}

/* log:cut(size) -> true | nil, err: forgets all behind the first `size` bytes */
static int cut_log(lua_State *L)
{
    struct log *log = check_log(L);
    off_t size = (off_t)luaL_checknumber(L, 2);
    if (ftruncate(log->fd, size) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s", strerror(errno));
    log->size = size;
    lua_pushboolean(L, 1);
    return 1;
}

/* log:append(text) -> true | nil, err: all of it, on the disk, or nothing */
static int append_log(lua_State *L)
{
    struct log *log = check_log(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(log->fd, text + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int why = errno;
            if (ftruncate(log->fd, log->size) != 0)
                log->size += (off_t)done;
            return bj_fail(L, BJ_ERR_IO, NULL, "%s", strerror(why));
        }
        done += (size_t)n;
    }
    log->size += (off_t)len;
    if (fdatasync(log->fd) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s", strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.stat(path) -> { size =, mtime = } | nil, err: bytes, and seconds since 1970 */
static int stat_path(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (stat(path, &st) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: a regular file expected", path);
    lua_createtable(L, 0, 2);
    bj_pushinteger(L, (long long)st.st_size);
    lua_setfield(L, -2, "size");
    bj_pushinteger(L, (long long)st.st_mtime);
    lua_setfield(L, -2, "mtime");
    return 1;
}

/* core.sync(path) -> true | nil, err: what was written to it is on the disk */
static int sync_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (sync_path(path) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* Moves at most `want` bytes. Answers how many that were, less than 0 for a failure. */
static ssize_t copy_piece(int from, off_t at, int to, off_t place, char *piece, size_t want)
{
    ssize_t got = pread(from, piece, want, at);
    for (ssize_t done = 0; done < got;) {
        ssize_t n = pwrite(to, piece + done, (size_t)(got - done), place + done);
        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? n : 0;
    }
    return got;
}

/* core.copy_bytes(from, at, to, place) -> bytes copied (0 at the end of `from`) | nil, err: a piece that takes no frame
 * of a game. Both positions count from 0. */
static int copy_bytes(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1);
    off_t at = (off_t)luaL_checknumber(L, 2);
    const char *to = luaL_checkstring(L, 3);
    off_t place = (off_t)luaL_checknumber(L, 4);
    char *piece = lua_newuserdata(L, COPY_BYTES);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CLOEXEC);
    ssize_t n = out < 0 ? -1 : copy_piece(in, at, out, place, piece, COPY_BYTES);
    int why = errno;
    const char *culprit = in < 0 ? from : to;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (n < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", culprit, strerror(why));
    bj_pushinteger(L, (long long)n);
    return 1;
}

/* core.crc32(text) -> a checksum, as a number */
static int checksum(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_pushnumber(L, (lua_Number)crc32_z(0, (const Bytef *)text, len));
    return 1;
}

/* core.make_directory(path) -> true | nil, err: true when it is there already */
static int make_directory(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (mkdir(path, 0777) != 0 && (errno != EEXIST || stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

void bj_open_file(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"publish", publish},
        {"open_log", open_log},
        {"stat", stat_path},
        {"sync", sync_file},
        {"copy_bytes", copy_bytes},
        {"crc32", checksum},
        {"make_directory", make_directory},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"append", append_log},
        {"cut", cut_log},
        {"close", close_log},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_log},
        {NULL, NULL},
    };
    bj_new_class(L, LOG_CLASS, methods, meta);
    bj_setfuncs(L, functions);
}
