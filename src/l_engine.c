/* The one engine of a Lua state. */
#include "l_engine.h"

#include "clock.h"
#include "l_open.h"

#include <time.h>

static const char ENGINE_CLASS[] = "bulkjob.engine";

struct engine_box {
    struct engine *engine; /* NULL: none, or stopped */
};

static const char engine_key;

static int engine_gc(lua_State *L)
{
    struct engine_box *box = bj_check_object(L, 1, ENGINE_CLASS);
    struct engine *e = box->engine;
    box->engine = NULL;
    if (!e)
        return 0;
    engine_stop(e);
    engine_unref(e);
    return 0;
}

/* Pushes the box of this process's engine and answers it, or answers NULL and pushes nothing. Its engine is gone when
 * the state is being closed. */
static struct engine_box *find_box(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &engine_key);
    struct engine_box *box = lua_touserdata(L, -1);
    /* An engine from before a fork stays where it is: its thread is in the other process. */
    if (box && !(box->engine && engine_is_foreign(box->engine)))
        return box;
    lua_pop(L, 1);
    return NULL;
}

struct engine *bj_engine(lua_State *L, int nice, const char **why)
{
    struct engine_box *box = find_box(L);
    if (!box) {
        box = bj_new_object(L, ENGINE_CLASS, sizeof *box);
        box->engine = engine_new(nice, why);
        if (!box->engine) {
            lua_pop(L, 1);
            return NULL;
        }
        lua_pushvalue(L, -1);
        bj_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
    }
    /* What is made in a state that is being closed is never collected: a new thread would be there for ever. */
    if (!box->engine)
        bj_raise(L, "bulkjob: the Lua state is being closed");
    lua_pop(L, 1);
    return engine_ref(box->engine);
}

void bj_check_process(lua_State *L, const struct engine *e)
{
    if (engine_is_foreign(e))
        bj_raise(L, "bulkjob: this client was used before the process forked; make a new one in the new process");
}

/* core.now() -> seconds on a clock that never jumps */
static int now(lua_State *L)
{
    lua_pushnumber(L, clock_now());
    return 1;
}

/* core.time() -> whole seconds since 1970 */
static int seconds_since_1970(lua_State *L)
{
    bj_pushinteger(L, (long long)time(NULL));
    return 1;
}

void bj_open_engine(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", engine_gc},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"now", now},
        {"time", seconds_since_1970},
        {NULL, NULL},
    };
    bj_new_class(L, ENGINE_CLASS, NULL, meta);
    bj_setfuncs(L, functions);
}
