/* Handles on jobs, and the calls that their verbs make. */
#include "l_bulkjob.h"

#include "digest.h"
#include "files.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOB_CLASS "bulkjob.job"

/* Every whole number up to this one is a lua_Number. */
#define WHOLE_MAX 9007199254740992.0

static const char *const kind_names[] = {[JOB_INGEST] = "ingest", [JOB_QUERY] = "query"};

struct job *bj_check_job(lua_State *L, int i)
{
    return luaL_checkudata(L, i, JOB_CLASS);
}

struct job *bj_push_job(lua_State *L, int client, enum job_kind kind)
{
    client = lua_absindex(L, client);
    struct job *j = bj_new_object(L, JOB_CLASS, sizeof *j); /* id, job */
    j->kind = kind;
    lua_insert(L, -2);
    bj_keep(L, -2, "id");
    lua_pushvalue(L, client);
    bj_keep(L, -2, "client");
    lua_newtable(L);
    bj_keep(L, -2, "info");
    return j;
}

void bj_update_job(lua_State *L, int i, int info)
{
    i = lua_absindex(L, i);
    info = lua_absindex(L, info);
    struct job *j = bj_check_job(L, i);
    bj_kept(L, i, "info"); /* known */
    int known = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, info)) { /* known, key, value */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, known);
    }
    lua_getfield(L, known, "state");
    if (lua_type(L, -1) == LUA_TSTRING)
        j->state = job_state_from(lua_tostring(L, -1));
    lua_pop(L, 1);
    if (j->state != STATE_OPEN) {
        lua_pushnil(L);
        lua_setfield(L, known, "contentUrl");
    }
    lua_getfield(L, known, "operation");
    if (lua_type(L, -1) == LUA_TSTRING)
        j->kind = strncmp(lua_tostring(L, -1), "query", 5) == 0 ? JOB_QUERY : JOB_INGEST;
    lua_pop(L, 1);
    lua_newtable(L); /* known, fresh */
    lua_pushnil(L);
    while (lua_next(L, known)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, known + 1);
    }
    lua_remove(L, known);
}

/* Ids go into paths: letters and digits only, 15 or 18 of them. */
static void check_id(lua_State *L, int i)
{
    size_t len;
    const char *id = luaL_checklstring(L, i, &len);
    size_t good = 0;
    while (good < len && isalnum((unsigned char)id[good]))
        good++;
    luaL_argcheck(L, good == len && (len == 15 || len == 18), i, "a job id of 15 or 18 letters and digits expected");
}

static enum job_kind check_kind(lua_State *L, int i)
{
    static const char *const names[] = {"ingest", "query", NULL};
    if (lua_isnoneornil(L, i))
        return JOB_UNKNOWN;
    return luaL_checkoption(L, i, NULL, names) == 0 ? JOB_INGEST : JOB_QUERY;
}

/* core.job(client, id [, kind]) -> a handle on an existing job, without a request */
static int open_job(lua_State *L)
{
    bj_check_client(L, 1);
    check_id(L, 2);
    enum job_kind kind = check_kind(L, 3);
    lua_settop(L, 2);
    bj_push_job(L, 1, kind);
    return 1;
}

/* ---- calls ---- */

/* Pushes "jobs/KIND[/ID][tail]". */
static void push_path(lua_State *L, int job, const char *tail)
{
    const struct job *j = bj_check_job(L, job);
    bj_kept(L, job, "id");
    lua_pushfstring(L, "jobs/%s/%s%s", kind_names[j->kind], lua_tostring(L, -1), tail);
    lua_remove(L, -2);
}

/* The job at `i`, whose kind is known by now, and its client, which is pushed. */
static struct job *begin(lua_State *L, int i)
{
    struct job *j = bj_check_job(L, i);
    if (j->kind == JOB_UNKNOWN)
        luaL_error(L, "bulkjob: the kind of this job is not known yet");
    bj_kept(L, i, "client");
    bj_check_client(L, -1);
    return j;
}

/* core.set_kind(job, kind): what a look at the service has shown */
static int set_kind(lua_State *L)
{
    struct job *j = bj_check_job(L, 1);
    j->kind = check_kind(L, 2);
    return 0;
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
    bj_keep(L, 5, "body_type");
    bj_call_body(L, 5, NULL);
    lua_settop(L, 5);
}

/* core.create(client, spec, kind [, data]) -> call: `spec` is the request body; with `data` (text) the job is filled
 * and closed in the same request */
static int create(lua_State *L)
{
    bj_check_client(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    enum job_kind kind = check_kind(L, 3);
    int full = !lua_isnoneornil(L, 4);
    lua_settop(L, 4);
    lua_pushfstring(L, "jobs/%s", kind_names[kind]);
    bj_push_call(L,
                 kind == JOB_QUERY ? VERB_QUERY
                 : full            ? VERB_CREATE_FULL
                                   : VERB_CREATE,
                 1, 0, "POST", EXPECT_JOB); /* client, spec, kind, data, call */
    lua_pushvalue(L, 2);
    bj_keep(L, 5, "spec");
    lua_pushvalue(L, 2);
    bj_json_encode(L);
    if (!full) {
        bj_call_body(L, 5, "application/json; charset=UTF-8");
        return 1;
    }
    push_multipart(L, 4);
    return 1;
}

static int patch(lua_State *L, enum verb verb, const char *body)
{
    begin(L, 1); /* job, …, client */
    push_path(L, 1, "");
    bj_push_call(L, verb, -2, 1, "PATCH", EXPECT_JOB);
    lua_pushstring(L, body);
    bj_call_body(L, -2, "application/json; charset=UTF-8");
    return 1;
}

/* The optional number of tries at `i`, for the call on top. */
static void limit_tries(lua_State *L, int i)
{
    if (!lua_isnoneornil(L, i))
        bj_call_tries(L, -1, (int)luaL_checknumber(L, i));
}

/* core.close(job) -> call */
static int close_job(lua_State *L)
{
    lua_settop(L, 1);
    return patch(L, VERB_CLOSE, "{\"state\":\"UploadComplete\"}");
}

/* core.abort(job [, tries]) -> call */
static int abort_job(lua_State *L)
{
    lua_settop(L, 2);
    patch(L, VERB_ABORT, "{\"state\":\"Aborted\"}");
    limit_tries(L, 2);
    return 1;
}

/* core.info(job [, tries]) -> call */
static int info(lua_State *L)
{
    lua_settop(L, 2);
    begin(L, 1); /* job, tries, client */
    push_path(L, 1, "");
    bj_push_call(L, VERB_READ, 3, 1, "GET", EXPECT_JOB);
    limit_tries(L, 2);
    return 1;
}

/* core.delete(job) -> call */
static int delete_job(lua_State *L)
{
    lua_settop(L, 1);
    begin(L, 1);
    push_path(L, 1, "");
    bj_push_call(L, VERB_DELETE, 2, 1, "DELETE", EXPECT_NOTHING);
    return 1;
}

/* The position `name` in the source at 3, a whole number; `none` when it has none. */
static double check_position(lua_State *L, const char *name, double none)
{
    lua_getfield(L, 3, name);
    double n = lua_isnil(L, -1) ? none : luaL_checknumber(L, -1);
    if (!(fabs(n) <= WHOLE_MAX && n == floor(n)))
        luaL_error(L, "bulkjob: source.%s: a whole number of bytes expected", name);
    lua_pop(L, 1);
    return n;
}

/* Keeps the checksum that the source at 3 names, if it does, for the call at 5. Answers whether it does. */
static int keep_digest(lua_State *L)
{
    size_t len;
    lua_getfield(L, 3, "digest");
    const char *digest = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, &len);
    if (digest && !digest_is(DIGEST_BODY, digest, len))
        luaL_error(L, "bulkjob: source.digest: %d hexadecimal digits in small letters expected", DIGEST_BODY_HEX);
    bj_keep(L, 5, "digest");
    return digest != NULL;
}

/* Opens the part of the file that the source at 3 names for the call at 5. Positions count from 1 as in string.sub,
 * both ends included. Answers 0, or the results of a failure. */
static int open_range(lua_State *L, struct call *c)
{
    lua_getfield(L, 3, "file");
    const char *path = luaL_checkstring(L, -1);
    bj_keep(L, 5, "file");
    double first = check_position(L, "first", 1);
    double last = check_position(L, "last", WHOLE_MAX);
    int checked = keep_digest(L);
    off_t size;
    int why;
    lua_getfield(L, 3, "header");
    bj_keep(L, 5, "header");
    lua_getfield(L, 3, "last");
    int fd = file_open_input(path, &size, &why);
    if (fd < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, file_error(why));
    if (lua_isnil(L, -1))
        last = (double)size;
    if (first < 1 || last > (double)size || last < first - 1) {
        close(fd);
        char range[120];
        snprintf(range, sizeof range, "bytes %.0f to %.0f asked for, but the file has %lld", first, last,
                 (long long)size);
        return bj_fail(L, BJ_ERR_IO, checked && last > (double)size ? BJ_CODE_CHANGED : NULL, "%s: %s", path, range);
    }
    bj_call_file(c, "text/csv; charset=UTF-8", fd, (off_t)first - 1, (off_t)(last - first + 1));
    return 0;
}

/* core.upload(job, "text" | "file" | "queue", source) -> call | nil, err: the text; { file =, first =, last =, header
 * =, digest = }; or, for a queue, whether the host can push the same again */
static int upload(lua_State *L)
{
    static const char *const forms[] = {"text", "file", "queue", NULL};
    int form = luaL_checkoption(L, 2, NULL, forms);
    lua_settop(L, 3);
    begin(L, 1); /* job, form, source, client */
    push_path(L, 1, "/batches");
    struct call *c = bj_push_call(L, VERB_UPLOAD, 4, 1, "PUT", EXPECT_NOTHING);
    if (form == 0) {
        luaL_checktype(L, 3, LUA_TSTRING);
        lua_pushvalue(L, 3);
        bj_call_body(L, 5, "text/csv; charset=UTF-8");
    } else if (form == 1) {
        int failed = open_range(L, c);
        if (failed) {
            bj_kept(L, 1, "id");
            lua_setfield(L, -2, "job_id");
            return failed;
        }
        lua_settop(L, 5);
    } else {
        bj_call_queue(c, "text/csv; charset=UTF-8", lua_toboolean(L, 3));
    }
    lua_pushvalue(L, 5);
    bj_keep(L, 1, "upload");
    return 1;
}

/* core.results(job, tail [, file, append]) -> call | nil, err: CSV of the resource below the job. Without a file the
 * host reads it as it comes; else it goes into that, an output or the path of a file of our own, which is made new, or
 * with `append` gets the lines behind the header added. */
static int results(lua_State *L)
{
    const char *tail = luaL_checkstring(L, 2);
    int to_file = !lua_isnoneornil(L, 3);
    int append = lua_toboolean(L, 4);
    int why;
    lua_settop(L, 4);
    begin(L, 1); /* job, tail, file, append, client */
    push_path(L, 1, tail);
    struct call *c = bj_push_call(L, VERB_READ, 5, 1, "GET", to_file ? EXPECT_FILE : EXPECT_CSV);
    if (bj_check_job(L, 1)->kind == JOB_QUERY)
        bj_call_count(c);
    if (!to_file)
        return 1;
    int fd = bj_open_output(L, 3, &why); /* …, call, path */
    if (fd >= 0 && append && lseek(fd, 0, SEEK_END) < 0) {
        why = errno;
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", lua_tostring(L, -1), file_error(why));
    bj_keep(L, 6, "file");
    bj_call_sink(c, fd, append);
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

/* ---- fields ---- */

static int push_field(lua_State *L, const struct job *j, const char *key)
{
    if (strcmp(key, "id") == 0)
        bj_kept(L, 1, "id");
    else if (strcmp(key, "kind") == 0)
        lua_pushstring(L, j->kind == JOB_UNKNOWN ? NULL : kind_names[j->kind]);
    else if (strcmp(key, "state") == 0)
        lua_pushstring(L, job_state_name(j->state));
    else
        lua_pushnil(L);
    return 1;
}

/* Methods first (upvalue 1), then what is known without a request. */
static int job_index(lua_State *L)
{
    const struct job *j = bj_check_job(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1) || lua_type(L, 2) != LUA_TSTRING)
        return 1;
    return push_field(L, j, lua_tostring(L, 2));
}

static int job_tostring(lua_State *L)
{
    const struct job *j = bj_check_job(L, 1);
    const char *state = job_state_name(j->state);
    bj_kept(L, 1, "id");
    lua_pushfstring(L, JOB_CLASS " %s (%s%s%s)", lua_tostring(L, -1),
                    j->kind == JOB_UNKNOWN ? "kind not known" : kind_names[j->kind], state ? ", " : "",
                    state ? state : "");
    return 1;
}

/* core.job_facts(job) -> { client, info, ours, uploaded, upload, lost }: what the Lua half asks about a handle */
static int job_facts(lua_State *L)
{
    const struct job *j = bj_check_job(L, 1);
    lua_createtable(L, 0, 6);
    bj_kept(L, 1, "client");
    lua_setfield(L, -2, "client");
    bj_kept(L, 1, "info");
    lua_setfield(L, -2, "info");
    bj_kept(L, 1, "upload");
    lua_setfield(L, -2, "upload");
    lua_pushboolean(L, j->ours);
    lua_setfield(L, -2, "ours");
    lua_pushboolean(L, j->uploaded);
    lua_setfield(L, -2, "uploaded");
    lua_pushinteger(L, j->lost);
    lua_setfield(L, -2, "lost");
    return 1;
}

void bj_open_job(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__tostring", job_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"job", open_job},    {"set_kind", set_kind}, {"create", create},       {"close", close_job},
        {"abort", abort_job}, {"info", info},         {"delete", delete_job},   {"upload", upload},
        {"results", results}, {"read", read_object},  {"job_facts", job_facts}, {NULL, NULL},
    };
    bj_new_class(L, JOB_CLASS, NULL, meta);
    bj_setfuncs(L, functions);
    luaL_getmetatable(L, JOB_CLASS); /* core, mt */
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "job_methods"); /* filled by the Lua half */
    lua_pushcclosure(L, job_index, 1);
    lua_setfield(L, -2, "__index");
    lua_setfield(L, -2, "job_meta"); /* so is __close */
}
