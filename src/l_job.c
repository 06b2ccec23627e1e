#include "l_job.h"

#include "l_client.h"
#include "l_error.h"
#include "l_open.h"
#include "verdict.h"

#include <string.h>

static const char JOB_CLASS[] = "bulkjob.job";

static const char *const kind_names[] = {[JOB_INGEST] = "ingest", [JOB_QUERY] = "query"};

struct job *bj_check_job(lua_State *L, int i)
{
    return bj_check_object(L, i, JOB_CLASS);
}

const char *bj_kind_name(enum job_kind kind)
{
    return kind_names[kind];
}

void bj_job_id(lua_State *L, int i)
{
    bj_kept(L, i, "id");
}

void bj_job_client(lua_State *L, int i)
{
    bj_kept(L, i, "client");
}

void bj_job_info(lua_State *L, int i)
{
    bj_kept(L, i, "info");
}

void bj_job_upload(lua_State *L, int i)
{
    bj_kept(L, i, "upload");
}

void bj_set_job_upload(lua_State *L, int i)
{
    bj_keep(L, i, "upload");
}

static const char created_key;

/* Pushes the table of handles that creates gave, as long as somebody holds them. */
static void push_created(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &created_key);
    if (lua_istable(L, -1))
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    bj_rawsetp(L, LUA_REGISTRYINDEX, &created_key);
}

/* Pushes the key in that table for the job at `i`: its org, and the part of its id that counts. */
static void push_key(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    bj_job_client(L, i);
    lua_pushstring(L, bj_check_client(L, -1)->base);
    bj_job_id(L, i);
    lua_pushlstring(L, lua_tostring(L, -1), 15);
    lua_replace(L, -2);
    lua_concat(L, 2);
    lua_remove(L, -2);
}

void bj_job_is_ours(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    push_created(L);
    push_key(L, i);
    lua_pushvalue(L, i);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    bj_check_job(L, i)->ours = 1;
}

struct job *bj_find_closer(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    push_created(L);
    push_key(L, i);
    lua_rawget(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushvalue(L, i);
    }
    bj_keep(L, i, "closer");
    lua_pop(L, 1);
    return bj_closer(L, i);
}

struct job *bj_closer(lua_State *L, int i)
{
    bj_kept(L, i, "closer");
    struct job *j = bj_check_job(L, -1); /* stays in the job */
    lua_pop(L, 1);
    return j;
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
    bj_copy_fields(L, info, known);
    lua_getfield(L, known, "state");
    if (lua_type(L, -1) == LUA_TSTRING)
        j->state = job_state_from(lua_tostring(L, -1));
    lua_pop(L, 1);
    lua_getfield(L, known, "operation");
    if (lua_type(L, -1) == LUA_TSTRING)
        j->kind = strncmp(lua_tostring(L, -1), "query", 5) == 0 ? JOB_QUERY : JOB_INGEST;
    lua_pop(L, 1);
    if (j->state != STATE_OPEN) {
        lua_pushnil(L);
        lua_setfield(L, known, "contentUrl");
        lua_pushnil(L);
        lua_setfield(L, info, "contentUrl");
    }
    bj_add_fields(L, known, info); /* what an answer to a PATCH does not tell */
    lua_pop(L, 1);
}

/* Ids go into paths. */
static void check_id(lua_State *L, int i)
{
    size_t len;
    const char *id = luaL_checklstring(L, i, &len);
    luaL_argcheck(L, is_job_id(id, len), i, "a job id of 15 or 18 letters and digits expected");
}

enum job_kind bj_check_kind(lua_State *L, int i)
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
    enum job_kind kind = bj_check_kind(L, 3);
    lua_settop(L, 2);
    bj_push_job(L, 1, kind);
    return 1;
}

/* core.set_kind(job, kind): what a look at the service has shown */
static int set_kind(lua_State *L)
{
    struct job *j = bj_check_job(L, 1);
    j->kind = bj_check_kind(L, 2);
    return 0;
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
    lua_pushfstring(L, "%s %s (%s%s%s)", JOB_CLASS, lua_tostring(L, -1),
                    j->kind == JOB_UNKNOWN ? "kind not known" : kind_names[j->kind], state ? ", " : "",
                    state ? state : "");
    return 1;
}

static void set_flag(lua_State *L, const char *name, int flag)
{
    lua_pushboolean(L, flag);
    lua_setfield(L, -2, name);
}

/* core.job_client(job) -> its client */
static int job_client(lua_State *L)
{
    bj_check_job(L, 1);
    bj_job_client(L, 1);
    return 1;
}

/* core.job_facts(job) -> { client, info, upload, ours, uploaded, lost, surely_open, aborting }: what the Lua half asks
 * about a handle. `surely_open`: it is ours and Open, and no close was sent, or each one was refused.
 * `aborting`: an abort was sent. `lost`: creates whose answer was lost. */
static int job_facts(lua_State *L)
{
    const struct job *j = bj_check_job(L, 1);
    lua_createtable(L, 0, 8);
    bj_job_client(L, 1);
    lua_setfield(L, -2, "client");
    bj_job_info(L, 1);
    lua_setfield(L, -2, "info");
    bj_job_upload(L, 1);
    lua_setfield(L, -2, "upload");
    set_flag(L, "ours", j->ours);
    set_flag(L, "uploaded", j->uploaded);
    set_flag(L, "surely_open", j->ours && j->state == STATE_OPEN && j->closes == 0);
    set_flag(L, "aborting", j->aborts > 0);
    lua_pushinteger(L, j->lost_creates);
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
        {"job", open_job}, {"set_kind", set_kind}, {"job_client", job_client}, {"job_facts", job_facts}, {NULL, NULL},
    };
    bj_new_class(L, JOB_CLASS, NULL, meta);
    bj_setfuncs(L, functions);
    bj_get_class(L, JOB_CLASS); /* core, mt */
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "job_methods"); /* filled by the Lua half */
    lua_pushcclosure(L, job_index, 1);
    lua_setfield(L, -2, "__index");
    lua_setfield(L, -2, "job_meta"); /* so is __close */
}
