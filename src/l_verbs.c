/* The calls that the verbs of clients and jobs make. */
#include "digest.h"
#include "files.h"
#include "l_call.h"
#include "l_client.h"
#include "l_error.h"
#include "l_file.h"
#include "l_job.h"
#include "l_json.h"
#include "l_open.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define JSON_TYPE "application/json; charset=UTF-8"

/* Pushes "jobs/KIND/ID[tail]". */
static void push_path(lua_State *L, int job, enum job_kind kind, const char *tail)
{
    bj_job_id(L, job);
    lua_pushfstring(L, "jobs/%s/%s%s", bj_kind_name(kind), lua_tostring(L, -1), tail);
    lua_remove(L, -2);
}

/* The job at `i`, whose kind is known by now, and its client, which is pushed. */
static struct job *begin(lua_State *L, int i)
{
    struct job *j = bj_check_job(L, i);
    if (j->kind == JOB_UNKNOWN)
        bj_misuse(L, "bulkjob: the kind of this job is not known yet");
    bj_job_client(L, i);
    bj_check_client(L, -1);
    return j;
}

/* Pushes a boundary line that is not in the text at `i`, without its dashes. */
static void push_boundary(lua_State *L, int i)
{
    size_t len;
    const char *text = lua_tolstring(L, i, &len);
    for (int n = 0;; n++) {
        lua_pushfstring(L, "bulkjob-part-%d", n);
        if (!memmem(text, len, lua_tostring(L, -1), lua_rawlen(L, -1)))
            return;
        lua_pop(L, 1);
    }
}

/* Gives the call at 5 the JSON text on top and the CSV text at `data` as one body. The parts are named, and job comes
 * before content, as the guide's create_job page says. */
static void push_multipart(lua_State *L, int data)
{
    int json = lua_gettop(L);
    push_boundary(L, data);
    const char *boundary = lua_tostring(L, -1);
    lua_pushfstring(L,
                    "--%s\r\nContent-Type: application/json\r\n"
                    "Content-Disposition: form-data; name=\"job\"\r\n\r\n",
                    boundary);
    lua_pushvalue(L, json);
    lua_pushfstring(L,
                    "\r\n--%s\r\nContent-Type: text/csv\r\n"
                    "Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\n",
                    boundary);
    lua_pushvalue(L, data);
    lua_pushfstring(L, "\r\n--%s--\r\n", boundary);
    lua_concat(L, 5);
    lua_pushfstring(L, "multipart/form-data; boundary=\"%s\"", boundary);
    bj_call_body(L, 5);
    lua_settop(L, 5);
}

/* core.create(client, spec, kind [, data]) -> call: `spec` is the request body; with `data` (text) the job is filled
 * and closed in the same request */
static int create(lua_State *L)
{
    bj_check_client(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    enum job_kind kind = bj_check_kind(L, 3);
    int full = !lua_isnoneornil(L, 4);
    lua_settop(L, 4);
    lua_pushfstring(L, "jobs/%s", bj_kind_name(kind));
    bj_push_call(L,
                 kind == JOB_QUERY ? VERB_QUERY
                 : full            ? VERB_CREATE_FULL
                                   : VERB_CREATE,
                 1, 0, "POST", EXPECT_JOB); /* client, spec, kind, data, call */
    lua_pushvalue(L, 2);
    bj_call_spec(L, 5);
    lua_pushvalue(L, 2);
    bj_json_encode(L);
    if (!full) {
        lua_pushliteral(L, JSON_TYPE);
        bj_call_body(L, 5);
        return 1;
    }
    push_multipart(L, 4);
    return 1;
}

static struct call *patch(lua_State *L, enum verb verb, const char *body)
{
    push_path(L, 1, begin(L, 1)->kind, ""); /* job, …, client, path */
    struct call *c = bj_push_call(L, verb, -2, 1, "PATCH", EXPECT_JOB);
    lua_pushstring(L, body);
    lua_pushliteral(L, JSON_TYPE);
    bj_call_body(L, -3);
    return c;
}

/* core.close(job) -> call */
static int close_job(lua_State *L)
{
    lua_settop(L, 1);
    patch(L, VERB_CLOSE, "{\"state\":\"UploadComplete\"}");
    return 1;
}

/* core.abort(job [, tries]) -> call. With `tries` it is one that the user did not ask for. */
static int abort_job(lua_State *L)
{
    lua_settop(L, 2);
    struct call *c = patch(L, VERB_ABORT, "{\"state\":\"Aborted\"}");
    if (!lua_isnil(L, 2))
        bj_call_cleanup(c, (int)luaL_checknumber(L, 2));
    return 1;
}

/* core.info(job, kind [, seconds]) -> call: the job is looked for among those of this kind */
static int info(lua_State *L)
{
    enum job_kind kind = bj_check_kind(L, 2);
    luaL_argcheck(L, kind != JOB_UNKNOWN, 2, "a kind expected");
    lua_settop(L, 3);
    bj_check_job(L, 1);
    bj_job_client(L, 1);
    bj_check_client(L, 4); /* job, kind, seconds, client */
    push_path(L, 1, kind, "");
    struct call *c = bj_push_call(L, VERB_READ, 4, 1, "GET", EXPECT_JOB);
    if (!lua_isnil(L, 3))
        bj_call_seconds(c, luaL_checknumber(L, 3));
    return 1;
}

/* core.delete(job) -> call */
static int delete_job(lua_State *L)
{
    lua_settop(L, 1);
    push_path(L, 1, begin(L, 1)->kind, "");
    bj_push_call(L, VERB_DELETE, 2, 1, "DELETE", EXPECT_NOTHING);
    return 1;
}

/* The position `name` in the source at 3, a whole number; `none` when it has none. */
static double check_position(lua_State *L, const char *name, double none)
{
    lua_getfield(L, 3, name);
    double n = lua_isnil(L, -1) ? none : luaL_checknumber(L, -1);
    if (!(fabs(n) <= BJ_WHOLE_MAX && n == floor(n)))
        bj_misuse(L, "bulkjob: source.%s: a whole number of bytes expected", name);
    lua_pop(L, 1);
    return n;
}

/* Pushes the checksum that the source at 3 names, or nil. Answers whether it does. */
static bool push_digest(lua_State *L)
{
    size_t len;
    lua_getfield(L, 3, "digest");
    const char *digest = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, &len);
    if (digest && !digest_is(DIGEST_BODY, digest, len))
        bj_misuse(L, "bulkjob: source.digest: %d hexadecimal digits in small letters expected", DIGEST_BODY_HEX);
    return digest != NULL;
}

/* Opens the part of the file that the source at 3 names for the call at 5. Positions count from 1 as in string.sub,
 * both ends included. Answers 0, or the results of a failure. */
static int open_range(lua_State *L)
{
    lua_getfield(L, 3, "file");
    const char *path = luaL_checkstring(L, -1);
    double first = check_position(L, "first", 1);
    double last = check_position(L, "last", BJ_WHOLE_MAX);
    lua_getfield(L, 3, "header");
    bool checked = push_digest(L); /* …, path, header, digest */
    off_t size;
    int why;
    lua_getfield(L, 3, "last");
    bool to_end = lua_isnil(L, -1);
    lua_pop(L, 1);
    int fd = file_open_input(path, &size, &why);
    if (fd < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, file_error(why));
    if (to_end)
        last = (double)size;
    if (first < 1 || last > (double)size || last < first - 1) {
        close(fd);
        char range[120];
        snprintf(range, sizeof range, "bytes %.0f to %.0f asked for, but the file has %lld", first, last,
                 (long long)size);
        return bj_fail(L, BJ_ERR_IO, checked && last > (double)size ? BJ_CODE_CHANGED : NULL, "%s: %s", path, range);
    }
    bj_call_file(L, 5, fd, (off_t)first - 1, (off_t)(last - first + 1));
    return 0;
}

/* core.upload(job, "text" | "file" | "queue", source) -> call | nil, err: the text; { file =, first =, last =, header
 * =, digest = }; or, for a queue, nothing */
static int upload(lua_State *L)
{
    static const char *const forms[] = {"text", "file", "queue", NULL};
    int form = luaL_checkoption(L, 2, NULL, forms);
    lua_settop(L, 3);
    push_path(L, 1, begin(L, 1)->kind, "/batches"); /* job, form, source, client, path */
    struct call *c = bj_push_call(L, VERB_UPLOAD, 4, 1, "PUT", EXPECT_NOTHING);
    if (form == 0) {
        luaL_checktype(L, 3, LUA_TSTRING);
        lua_pushvalue(L, 3);
        lua_pushliteral(L, "text/csv; charset=UTF-8");
        bj_call_body(L, 5);
    } else if (form == 1) {
        int failed = open_range(L);
        if (failed) {
            bj_job_id(L, 1);
            lua_setfield(L, -2, "job_id");
            return failed;
        }
        lua_settop(L, 5);
    } else {
        bj_call_queue(c);
    }
    lua_pushvalue(L, 5);
    bj_set_job_upload(L, 1);
    return 1;
}

/* core.results(job, tail [, file, append, header]) -> call | nil, err: CSV of the resource below the job. Without a
 * file the host reads it as it comes; else it goes into that, an output or the path of a file of our own, which is made
 * new, or with `append` gets the lines behind the header added. A page of a query whose first line is not `header` is
 * asked for again. */
static int results(lua_State *L)
{
    const char *tail = luaL_checkstring(L, 2);
    int to_file = !lua_isnoneornil(L, 3);
    int append = lua_toboolean(L, 4);
    int why;
    size_t header_len;
    const char *header = luaL_optlstring(L, 5, NULL, &header_len);
    lua_settop(L, 5);
    push_path(L, 1, begin(L, 1)->kind, tail); /* job, tail, file, append, header, client, path */
    struct call *c = bj_push_call(L, VERB_READ, 6, 1, "GET", to_file ? EXPECT_FILE : EXPECT_CSV);
    if (strcmp(tail, "/unprocessedrecords") != 0) /* these are as they were uploaded, in any form */
        bj_call_count(c, bj_check_job(L, 1)->kind == JOB_QUERY);
    if (!to_file)
        return 1;
    if (header) {
        lua_pushlstring(L, header, header_len);
        bj_call_header(L, 7);
    }
    int fd = bj_open_output(L, 3, &why); /* …, call, path */
    if (fd >= 0 && append && lseek(fd, 0, SEEK_END) < 0) {
        why = errno;
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", lua_tostring(L, -1), file_error(why));
    bj_call_sink(L, 7, fd, append);
    return 1;
}

/* core.read(client, path) -> call: a JSON object below /services/data/vXX.X/ */
static int read_object(lua_State *L)
{
    bj_check_client(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    bj_push_call(L, VERB_READ, 1, 0, "GET", EXPECT_OBJECT);
    return 1;
}

void bj_open_verbs(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"create", create}, {"close", close_job}, {"abort", abort_job},  {"info", info}, {"delete", delete_job},
        {"upload", upload}, {"results", results}, {"read", read_object}, {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
