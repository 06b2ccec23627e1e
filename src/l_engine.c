/* The one engine of a Lua state, and how the host waits for it. */
#include "l_bulkjob.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define ENGINE_CLASS "bulkjob.engine"

/* A burst of completions must not become one long frame. */
enum { NEWS_AT_ONCE = 256 };

struct engine_box {
    struct engine *engine; /* NULL: none, or stopped */
};

static const char engine_key;

static int engine_gc(lua_State *L)
{
    struct engine_box *box = luaL_checkudata(L, 1, ENGINE_CLASS);
    struct engine *e = box->engine;
    box->engine = NULL;
    if (e) {
        engine_stop(e);
        engine_unref(e);
    }
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

/* The same, if its engine runs. */
static struct engine_box *running(lua_State *L)
{
    struct engine_box *box = find_box(L);
    if (box && !box->engine) {
        lua_pop(L, 1);
        return NULL;
    }
    return box;
}

struct engine *bj_engine(lua_State *L, int nice)
{
    const char *why;
    struct engine_box *box = find_box(L);
    if (!box) {
        box = bj_new_object(L, ENGINE_CLASS, sizeof *box);
        box->engine = engine_new(nice, &why);
        if (!box->engine)
            luaL_error(L, "bulkjob: the engine could not be started: %s", why);
        lua_pushvalue(L, -1);
        bj_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
    }
    /* What is made in a state that is being closed is never collected: a new thread would be there for ever. */
    if (!box->engine)
        bj_raise(L, "bulkjob: the Lua state is being closed");
    lua_pop(L, 1);
    return engine_ref(box->engine);
}

void bj_pin(lua_State *L, struct transfer *t, int i)
{
    i = lua_absindex(L, i);
    if (!running(L))
        return;
    bj_getuservalue(L, -1);
    lua_pushlstring(L, (const char *)&t, sizeof t);
    lua_pushvalue(L, i);
    lua_rawset(L, -3);
    lua_pop(L, 2);
}

/* Takes the news, so that the descriptor gets quiet, and lets go of what finished transfers had pinned. Whoever waits
 * looks at its own transfer. */
static void take_news(lua_State *L, struct engine *e)
{
    struct transfer *t;
    bj_getuservalue(L, -1); /* box, pins */
    for (int n = 0; n < NEWS_AT_ONCE && (t = engine_next(e)); n++) {
        int done = atomic_load(&t->done);
        const struct transfer *key = t;
        transfer_unref(t);
        if (done) {
            lua_pushlstring(L, (const char *)&key, sizeof key);
            lua_pushnil(L);
            lua_rawset(L, -3);
        }
    }
    lua_pop(L, 1);
}

/* core.wait(seconds): sleeps until the engine has news, a signal comes, or the seconds have passed (nil: no limit). */
static int wait_for_news(lua_State *L)
{
    double seconds = luaL_optnumber(L, 1, -1);
    struct engine_box *box = running(L);
    if (box) {
        engine_wait(box->engine, seconds);
        take_news(L, box->engine);
    } else if (seconds > 0) {
        poll(NULL, 0, seconds > 1e6 ? -1 : (int)(seconds * 1000) + 1);
    }
    return 0;
}

/* core.now() -> seconds on a clock that never jumps */
static int now(lua_State *L)
{
    lua_pushnumber(L, clock_now());
    return 1;
}

void bj_open_engine(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", engine_gc},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"wait", wait_for_news},
        {"now", now},
        {NULL, NULL},
    };
    bj_new_class(L, ENGINE_CLASS, NULL, meta);
    bj_setfuncs(L, functions);
}
