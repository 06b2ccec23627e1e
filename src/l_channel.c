/* core.channel: what one waiter of the host waits on, in the form that event loops ask for. */
#include "l_channel.h"

#include "clock.h"
#include "l_engine.h"
#include "l_open.h"
#include "listener.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char CHANNEL_CLASS[] = "bulkjob.channel";
static const char LISTENER_CLASS[] = "bulkjob.listener";

struct channel_box {
    struct channel *channel; /* NULL: closed */
    struct engine *engine;   /* a reference, while it watches the channel */
    double deadline;         /* negative: none */
};

static const char listener_key;

static struct channel_box *check_usable(lua_State *L, struct channel_box *box)
{
    if (!box->channel)
        bj_raise(L, "bulkjob: this channel is closed");
    if (channel_is_foreign(box->channel))
        bj_raise(L, "bulkjob: this client was used before the process forked; make a new one in the new process");
    return box;
}

static struct channel_box *check_box(lua_State *L, int i)
{
    return check_usable(L, bj_check_object(L, i, CHANNEL_CLASS));
}

struct channel *bj_check_channel(lua_State *L, int i)
{
    return check_box(L, i)->channel;
}

/* core.channel() -> channel */
static int new_channel(lua_State *L)
{
    struct channel_box *box = bj_new_object(L, CHANNEL_CLASS, sizeof *box);
    box->deadline = -1;
    box->channel = channel_new();
    if (!box->channel)
        bj_no_memory(L);
    return 1;
}

static void disconnect(struct channel_box *box)
{
    if (!box->engine)
        return;
    if (!engine_is_foreign(box->engine)) {
        engine_remove_channel(box->engine, box->channel);
        channel_detach(box->channel);
    }
    engine_unref(box->engine);
    box->engine = NULL;
}

/* channel:close(). Twice is harmless. */
static int close_channel(lua_State *L)
{
    struct channel_box *box = bj_check_object(L, 1, CHANNEL_CLASS);
    struct channel *c = box->channel;
    if (!c)
        return 0;
    disconnect(box);
    box->channel = NULL;
    channel_close(c);
    channel_unref(c);
    return 0;
}

/* channel:is_foreign() -> was it made before this process was forked? */
static int is_foreign(lua_State *L)
{
    const struct channel_box *box = bj_check_object(L, 1, CHANNEL_CLASS);
    lua_pushboolean(L, box->channel && channel_is_foreign(box->channel));
    return 1;
}

static int next_tag(lua_State *L)
{
    struct channel_box *box = lua_touserdata(L, lua_upvalueindex(1));
    double tag;
    if (!box->channel || atomic_load_explicit(&box->channel->news, memory_order_acquire) == 0)
        return 0;
    if (!channel_next(check_usable(L, box)->channel, !lua_isnoneornil(L, 2), &tag))
        return 0;
    lua_pushnumber(L, tag);
    return 1;
}

/* channel:news() -> for tag in channel:news(): the tags of the calls that have news. Each of the news is dropped when
 * the next one is asked for, so that none is lost when an error comes between. */
static int news_of(lua_State *L)
{
    check_box(L, 1);
    lua_settop(L, 1);
    lua_pushcclosure(L, next_tag, 1);
    return 1;
}

static int push_errno(lua_State *L)
{
    int why = errno;
    lua_pushnil(L);
    lua_pushstring(L, strerror(why));
    return 2;
}

static int push_problem(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushfstring(L, "the engine could not be started: %s", why);
    return 2;
}

/* channel:pollfd([timed]) -> a descriptor that is readable when there is news, with `timed` also when timeout() has
 * passed | nil, why */
static int pollfd_of(lua_State *L)
{
    struct channel_box *box = check_box(L, 1);
    int timed = lua_toboolean(L, 2);
    disconnect(box);
    int fd = channel_fd(box->channel);
    if (fd < 0)
        return push_errno(L);
    if (timed && box->deadline >= 0) {
        const char *why;
        box->engine = bj_engine(L, 0, &why);
        if (!box->engine)
            return push_problem(L, why);
        engine_add_channel(box->engine, box->channel, box->deadline);
    }
    lua_pushinteger(L, fd);
    return 1;
}

/* channel:events() -> "r": the descriptor is watched for reading */
static int events_of(lua_State *L)
{
    lua_pushliteral(L, "r");
    return 1;
}

static double seconds_left(const struct channel_box *box)
{
    double left = box->deadline - clock_now();
    return left > 0 ? left : 0;
}

/* channel:timeout() -> seconds after which to look again even without news; nil: no limit */
static int timeout_of(lua_State *L)
{
    const struct channel_box *box = check_box(L, 1);
    if (box->deadline < 0)
        return 0;
    lua_pushnumber(L, seconds_left(box));
    return 1;
}

/* channel:set_deadline(moment): sets the moment, on the clock of core.now, for timeout(); nil: none */
static int set_deadline(lua_State *L)
{
    struct channel_box *box = check_box(L, 1);
    box->deadline = luaL_optnumber(L, 2, -1);
    return 0;
}

/* channel:sleep() -> true | nil, why: blocks the thread until there is news, a signal came, or the moment has come */
static int sleep_on(lua_State *L)
{
    struct channel_box *box = check_box(L, 1);
    disconnect(box);
    if (!channel_sleep(box->channel, box->deadline < 0 ? -1 : seconds_left(box)))
        return push_errno(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- for hosts that can only connect ---- */

static int listener_gc(lua_State *L)
{
    listener_close(bj_check_object(L, 1, LISTENER_CLASS));
    return 0;
}

static struct listener *get_listener(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &listener_key);
    struct listener *l = lua_touserdata(L, -1);
    if (!l) {
        l = bj_new_object(L, LISTENER_CLASS, sizeof *l);
        listener_init(l);
        lua_pushvalue(L, -1);
        bj_rawsetp(L, LUA_REGISTRYINDEX, &listener_key);
    }
    lua_pop(L, 1);
    if (l->fd >= 0 && l->pid != getpid())
        listener_close(l);
    return l;
}

/* core.wait_path() -> the path of a unix socket to connect to, for channel:connect() | nil, why */
static int wait_path(lua_State *L)
{
    struct listener *l = get_listener(L);
    if (l->fd < 0 && !listener_open(l))
        return push_errno(L);
    lua_pushfstring(L, "/proc/self/fd/%d", l->path);
    return 1;
}

/* channel:connect() -> true | nil, why: whoever has just connected to core.wait_path() gets a byte when there is news
 * or the moment of set_deadline() has come, until disconnect(). */
static int connect_channel(lua_State *L)
{
    struct channel_box *box = check_box(L, 1);
    disconnect(box);
    struct listener *l = get_listener(L);
    const char *problem;
    box->engine = bj_engine(L, 0, &problem);
    if (!box->engine)
        return push_problem(L, problem);
    int fd = listener_accept(l);
    if (fd < 0)
        return push_errno(L);
    channel_attach(box->channel, fd);
    engine_add_channel(box->engine, box->channel, box->deadline);
    lua_pushboolean(L, 1);
    return 1;
}

/* channel:disconnect(): closes our end */
static int disconnect_channel(lua_State *L)
{
    disconnect(check_box(L, 1));
    return 0;
}

/* channel:wake(): wakes whoever waits on it, or is about to. Nobody waits on one that is closed, or from before a fork.
 */
static int wake(lua_State *L)
{
    const struct channel_box *box = bj_check_object(L, 1, CHANNEL_CLASS);
    if (box->channel && !channel_is_foreign(box->channel))
        channel_wake(box->channel);
    return 0;
}

void bj_open_channel(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"news", news_of},
        {"pollfd", pollfd_of},
        {"events", events_of},
        {"timeout", timeout_of},
        {"set_deadline", set_deadline},
        {"sleep", sleep_on},
        {"connect", connect_channel},
        {"disconnect", disconnect_channel},
        {"is_foreign", is_foreign},
        {"wake", wake},
        {"close", close_channel},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_channel},
        {NULL, NULL},
    };
    static const luaL_Reg listener_meta[] = {
        {"__gc", listener_gc},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"channel", new_channel},
        {"wait_path", wait_path},
        {NULL, NULL},
    };
    bj_new_class(L, CHANNEL_CLASS, methods, meta);
    bj_new_class(L, LISTENER_CLASS, NULL, listener_meta);
    bj_setfuncs(L, functions);
}
