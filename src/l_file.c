/* What Lua's io library lacks, or a host has taken away. */
#include "l_file.h"

#include "files.h"
#include "l_error.h"
#include "l_open.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char LOG_CLASS[] = "bulkjob.log";

static const char INPUT_CLASS[] = "bulkjob.input";
static const char OUTPUT_CLASS[] = "bulkjob.output";

enum { COPY_BYTES = 256 * 1024 };

static int fail(lua_State *L, const char *path, int why)
{
    return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, file_error(why));
}

/* The argument at `i`: a position or a number of bytes. */
static double check_whole(lua_State *L, int i)
{
    double n = luaL_checknumber(L, i);
    luaL_argcheck(L, n >= 0 && n <= BJ_WHOLE_MAX && n == floor(n), i, "a whole number of bytes expected");
    return n;
}

/* ---- reading ---- */

struct input {
    int fd; /* -1: closed */
    off_t at;
    off_t size; /* when it was opened */
    char *piece;
    size_t room;
};

static struct input *check_input(lua_State *L, int i)
{
    struct input *in = bj_check_object(L, i, INPUT_CLASS);
    if (in->fd < 0)
        bj_raise(L, "bulkjob: this file is closed");
    return in;
}

/* core.open_input(path) -> input | nil, err: a regular file to read; never waits for a program at the other end of a
 * pipe */
static int open_input(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    int why;
    lua_settop(L, 1);
    struct input *in = bj_new_object(L, INPUT_CLASS, sizeof *in);
    in->fd = -1;
    lua_pushvalue(L, 1);
    bj_keep(L, 2, "path");
    in->fd = file_open_input(path, &in->size, &why);
    return in->fd < 0 ? fail(L, path, why) : 1;
}

int bj_read_input(lua_State *L, int i, char *to, size_t count, size_t *done)
{
    struct input *in = check_input(L, i);
    *done = 0;
    while (*done < count) {
        ssize_t n = pread(in->fd, to + *done, count - *done, in->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int why = errno;
            bj_kept(L, i, "path");
            return fail(L, lua_tostring(L, -1), why);
        }
        if (n == 0)
            break;
        *done += (size_t)n;
        in->at += n;
    }
    return 0;
}

/* input:read(count [, at]) -> text | nil (the end) | nil, err: at most so many bytes, from `at` (from 0) or where the
 * last read ended */
static int read_input(lua_State *L)
{
    struct input *in = check_input(L, 1);
    size_t count = (size_t)check_whole(L, 2);
    size_t done = 0;
    if (!lua_isnoneornil(L, 3))
        in->at = (off_t)check_whole(L, 3);
    if (in->at + (off_t)count > in->size) /* no room for what is not there; it may have grown all the same */
        count = in->size > in->at ? (size_t)(in->size - in->at) : COPY_BYTES;
    if (count > in->room) {
        char *piece = realloc(in->piece, count);
        if (!piece)
            bj_no_memory(L);
        in->piece = piece;
        in->room = count;
    }
    int results = bj_read_input(L, 1, in->piece, count, &done);
    if (results || done == 0)
        return results;
    lua_pushlstring(L, in->piece, done);
    return 1;
}

/* input:size() -> bytes, when it was opened */
static int input_size(lua_State *L)
{
    bj_pushinteger(L, (long long)check_input(L, 1)->size);
    return 1;
}

static int close_input(lua_State *L)
{
    struct input *in = bj_check_object(L, 1, INPUT_CLASS);
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
    free(in->piece);
    in->piece = NULL;
    in->room = 0;
    return 0;
}

/* ---- writing ---- */

static struct output *check_output(lua_State *L, int i)
{
    struct output *o = bj_check_object(L, i, OUTPUT_CLASS);
    if (o->fd < 0)
        bj_raise(L, "bulkjob: this file is closed");
    return o;
}

static int fail_output(lua_State *L, int i, int why)
{
    bj_kept(L, i, "path");
    return fail(L, lua_tostring(L, -1), why);
}

/* Pushes an output for the path at 1, the only argument, without a file yet. */
static struct output *push_output(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    struct output *o = bj_new_object(L, OUTPUT_CLASS, sizeof *o);
    o->fd = -1;
    lua_pushvalue(L, 1);
    bj_keep(L, 2, "path");
    return o;
}

/* core.begin_output(path) -> output | nil, err: a file that is being written (files.h); when it is collected, it is
 * discarded */
static int begin_output(lua_State *L)
{
    struct output *o = push_output(L);
    const char *path = lua_tostring(L, 1);
    int why = output_begin(o, path);
    return why ? fail(L, path, why) : 1;
}

/* core.create_output(path) -> output | nil, err: a file of our own, which has its name from the start, and keeps it
 * however it ends. One that is there is emptied. */
static int create_output(lua_State *L)
{
    struct output *o = push_output(L);
    const char *path = lua_tostring(L, 1);
    int why;
    o->fd = file_open_own(path, 0666, &why);
    o->direct = true;
    if (o->fd >= 0 && ftruncate(o->fd, 0) != 0)
        why = errno;
    return why ? fail(L, path, why) : 1;
}

/* core.is_direct(path) -> whether it is no regular file, and would be written to as it is */
static int is_direct(lua_State *L)
{
    lua_pushboolean(L, output_is_direct(luaL_checkstring(L, 1)));
    return 1;
}

/* output:is_direct() -> whether it writes to the path itself, which is no regular file */
static int is_output_direct(lua_State *L)
{
    lua_pushboolean(L, check_output(L, 1)->direct);
    return 1;
}

/* output:write(text [, first]) -> how many of the bytes from `first` (from 1) on were written | nil, err: fewer than
 * all when a pipe is full for now */
static int write_output(lua_State *L)
{
    struct output *o = check_output(L, 1);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    double first = lua_isnoneornil(L, 3) ? 1 : check_whole(L, 3);
    int why = 0;
    luaL_argcheck(L, first >= 1 && first - 1 <= (double)len, 3, "behind the text");
    size_t done = (size_t)first - 1;
    while (done < len) {
        ssize_t n = output_write(o, text + done, len - done, &why);
        if (n < 0)
            return fail_output(L, 1, why);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    bj_pushinteger(L, (long long)(done + 1 - (size_t)first));
    return 1;
}

/* output:size() -> bytes that were written to the part */
static int output_size(lua_State *L)
{
    struct stat st;
    if (fstat(check_output(L, 1)->fd, &st) != 0)
        return fail_output(L, 1, errno);
    bj_pushinteger(L, (long long)st.st_size);
    return 1;
}

/* output:publish() -> true | nil, err: gives the finished file its name, in one step and for good; what is direct is
 * closed. Either way it is over. */
static int publish_output(lua_State *L)
{
    struct output *o = check_output(L, 1);
    int why = 0;
    if (o->direct)
        output_discard(o);
    else
        why = output_publish(o);
    if (why)
        return fail_output(L, 1, why);
    lua_pushboolean(L, 1);
    return 1;
}

/* output:discard(): removes what was not published */
static int discard_output(lua_State *L)
{
    output_discard(bj_check_object(L, 1, OUTPUT_CLASS));
    return 0;
}

int bj_open_output(lua_State *L, int i, int *why)
{
    if (lua_type(L, i) != LUA_TUSERDATA) {
        const char *path = luaL_checkstring(L, i);
        lua_pushvalue(L, i);
        return file_open_own(path, 0666, why);
    }
    const struct output *o = check_output(L, i);
    bj_kept(L, i, "path");
    int fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 0);
    *why = fd < 0 ? errno : 0;
    return fd;
}

/* core.publish(from, path) -> true | nil, err: gives a finished file its name, in one step and for good. With the
 * err.code "NOT_RENAMED" the path is no regular file, or on another file system: the bytes can be copied there. */
static int publish(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1);
    const char *path = luaL_checkstring(L, 2);
    int why = file_publish(from, path);
    if (why == FILE_NOT_REGULAR || why == EXDEV)
        return bj_fail(L, BJ_ERR_IO, "NOT_RENAMED", "%s: %s", path, file_error(why));
    if (why)
        return fail(L, path, why);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.end_last_line(file) -> true | nil, err: the last line of an output, or of a file of our own, gets a line end
 * when it has none */
static int end_last_line(lua_State *L)
{
    int why;
    lua_settop(L, 1);
    int fd = bj_open_output(L, 1, &why);
    if (fd >= 0) {
        why = file_end_last_line(fd);
        close(fd);
    }
    if (why)
        return fail(L, lua_tostring(L, -1), why);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- a log: lines that are appended, and are on the disk when that returns ---- */

struct log {
    int fd; /* -1: closed */
    off_t size;
    bool broken; /* nobody knows what of it is on the disk */
};

static struct log *check_log(lua_State *L)
{
    struct log *log = bj_check_object(L, 1, LOG_CLASS);
    if (log->fd < 0)
        bj_raise(L, "bulkjob: this log is closed");
    return log;
}

static int close_log(lua_State *L)
{
    struct log *log = bj_check_object(L, 1, LOG_CLASS);
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
    int why;
    struct log *log = bj_new_object(L, LOG_CLASS, sizeof *log);
    log->fd = file_open_own(path, 0600, &why);
    if (log->fd < 0)
        return fail(L, path, why);
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0) {
        int locked = errno == EWOULDBLOCK;
        const char *what = locked ? "another process is using it" : strerror(errno);
        return bj_fail(L, BJ_ERR_IO, locked ? "LOCKED" : NULL, "%s: %s", path, what);
    }
    if (fstat(log->fd, &st) != 0)
        return fail(L, path, errno);
    log->size = st.st_size;
    if (log->size == 0) /* it may be new: what is written to it counts only when its name is on the disk, too */
        file_sync_directory(path);
    return 1;
}

/* log:cut(size) -> true | nil, err: forgets all behind the first `size` bytes */
static int cut_log(lua_State *L)
{
    struct log *log = check_log(L);
    off_t size = (off_t)check_whole(L, 2);
    if (ftruncate(log->fd, size) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s", strerror(errno));
    log->size = size;
    lua_pushboolean(L, 1);
    return 1;
}

/* Writes all of the text and syncs it. 0, or the errno. */
static int append_text(int fd, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        done += (size_t)n;
    }
    return fdatasync(fd) == 0 ? 0 : errno;
}

/* log:append(text) -> true | nil, err: all of it, on the disk, or nothing. After a failure that cannot be taken back,
 * every append fails. */
static int append_log(lua_State *L)
{
    struct log *log = check_log(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    if (log->broken)
        return bj_fail(L, BJ_ERR_IO, NULL, "an earlier write to it failed, and nobody knows what of it is on the disk");
    int why = append_text(log->fd, text, len);
    if (why) {
        log->broken = ftruncate(log->fd, log->size) != 0 || fdatasync(log->fd) != 0;
        return bj_fail(L, BJ_ERR_IO, NULL, "%s", strerror(why));
    }
    log->size += (off_t)len;
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
        return fail(L, path, FILE_NOT_REGULAR);
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
    off_t size;
    int why;
    int fd = file_open_input(path, &size, &why);
    if (fd >= 0) {
        why = fsync(fd) == 0 ? 0 : errno;
        close(fd);
    }
    if (why)
        return fail(L, path, why);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.sync_name(path): that this file or directory has this name is on the disk, where its file system can do that */
static int sync_name(lua_State *L)
{
    file_sync_directory(luaL_checkstring(L, 1));
    return 0;
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
 * of a game, between files of our own. Both positions count from 0. */
static int copy_bytes(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1);
    off_t at = (off_t)check_whole(L, 2);
    const char *to = luaL_checkstring(L, 3);
    off_t place = (off_t)check_whole(L, 4);
    char *piece = lua_newuserdata(L, COPY_BYTES);
    off_t size;
    int why;
    const char *culprit = from;
    ssize_t n = -1;
    int in = file_open_input(from, &size, &why);
    if (in >= 0) {
        culprit = to;
        int out = open(to, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        n = out < 0 ? -1 : copy_piece(in, at, out, place, piece, COPY_BYTES);
        why = errno;
        if (out >= 0)
            close(out);
        close(in);
    }
    if (n < 0)
        return fail(L, culprit, why);
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
        {"open_input", open_input},
        {"begin_output", begin_output},
        {"create_output", create_output},
        {"end_last_line", end_last_line},
        {"publish", publish},
        {"open_log", open_log},
        {"stat", stat_path},
        {"sync", sync_file},
        {"copy_bytes", copy_bytes},
        {"crc32", checksum},
        {"sync_name", sync_name},
        {"make_directory", make_directory},
        {"is_direct", is_direct},
        {NULL, NULL},
    };
    static const luaL_Reg log_methods[] = {
        {"append", append_log},
        {"cut", cut_log},
        {"close", close_log},
        {NULL, NULL},
    };
    static const luaL_Reg log_meta[] = {{"__gc", close_log}, {NULL, NULL}};
    static const luaL_Reg input_methods[] = {
        {"read", read_input},
        {"size", input_size},
        {"close", close_input},
        {NULL, NULL},
    };
    static const luaL_Reg input_meta[] = {{"__gc", close_input}, {NULL, NULL}};
    static const luaL_Reg output_methods[] = {
        {"write", write_output},     {"is_direct", is_output_direct}, {"size", output_size},
        {"publish", publish_output}, {"discard", discard_output},     {NULL, NULL},
    };
    static const luaL_Reg output_meta[] = {{"__gc", discard_output}, {NULL, NULL}};
    bj_new_class(L, LOG_CLASS, log_methods, log_meta);
    bj_new_class(L, INPUT_CLASS, input_methods, input_meta);
    bj_new_class(L, OUTPUT_CLASS, output_methods, output_meta);
    bj_setfuncs(L, functions);
}
