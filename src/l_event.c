/* What on_event is told: requests, retries, changes of state. Kept with the call until the host takes them. */
#include "l_call.h"

int bj_push_event(lua_State *L, int ci, const char *type)
{
    bj_kept(L, ci, "client");
    int watched = ((struct client *)lua_touserdata(L, -1))->watched;
    lua_pop(L, 1);
    if (!watched)
        return 0;
    bj_kept(L, ci, "events");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        bj_keep(L, ci, "events");
    }
    lua_createtable(L, 0, 10); /* events, event */
    lua_pushstring(L, type);
    lua_setfield(L, -2, "type");
    bj_name_job(L, ci);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (int)lua_rawlen(L, -3) + 1);
    lua_remove(L, -2);
    return 1;
}

static void set_number(lua_State *L, const char *name, double n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, long long n)
{
    bj_pushinteger(L, n);
    lua_setfield(L, -2, name);
}

void bj_report_request(lua_State *L, const struct call *c, int ci, int error)
{
    const struct transfer *t = c->transfer;
    if (!bj_push_event(L, ci, "request"))
        return;
    lua_pushstring(L, t->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, t->url);
    lua_setfield(L, -2, "url");
    if (t->status)
        set_integer(L, "status", t->status);
    set_number(L, "seconds", t->seconds);
    set_integer(L, "sent", t->source.sent);
    set_integer(L, "received", t->bytes_in);
    set_integer(L, "attempt", c->run.sends + (c->run.step == STEP_SEND));
    if (error) {
        lua_pushvalue(L, error);
        lua_setfield(L, -2, "error");
    }
    lua_pop(L, 1);
}

void bj_report_retry(lua_State *L, const struct call *c, int ci, int error)
{
    if (!bj_push_event(L, ci, "retry"))
        return;
    set_number(L, "delay", c->run.pause);
    set_integer(L, "attempt", c->run.sends + 1);
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "error");
    lua_pop(L, 1);
}

void bj_report_state(lua_State *L, int ci, enum job_state from, enum job_state to)
{
    if (from == to || !bj_push_event(L, ci, "state"))
        return;
    lua_pushstring(L, job_state_name(from));
    lua_setfield(L, -2, "from");
    lua_pushstring(L, job_state_name(to));
    lua_setfield(L, -2, "to");
    lua_pop(L, 1);
}
