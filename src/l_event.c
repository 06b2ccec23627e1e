#include "l_event.h"

#include "l_secret.h"

#include <time.h>

/* Appends an event of this type and leaves it on the stack. */
static void push_event(lua_State *L, int list, const char *type)
{
    list = lua_absindex(L, list);
    lua_createtable(L, 0, 10);
    lua_pushstring(L, type);
    lua_setfield(L, -2, "type");
    lua_pushvalue(L, -1);
    lua_rawseti(L, list, (int)lua_rawlen(L, list) + 1);
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

static void set_error(lua_State *L, int error)
{
    if (error) {
        lua_pushvalue(L, error);
        lua_setfield(L, -2, "error");
    }
}

void bj_describe_request(lua_State *L, const struct transfer *t)
{
    enum { URL_SHOWN = 64 * 1024 };
    lua_pushstring(L, t->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, t->url);
    bj_mask_top(L, URL_SHOWN);
    lua_setfield(L, -2, "url");
    if (t->status >= 200)
        set_integer(L, "status", t->status);
}

void bj_push_request_event(lua_State *L, int list, const struct transfer *t, int attempt, int error)
{
    push_event(L, list, "request");
    bj_describe_request(L, t);
    set_number(L, "seconds", t->seconds);
    set_integer(L, "sent", t->source.sent);
    set_integer(L, "received", t->bytes_in);
    set_integer(L, "attempt", attempt);
    set_error(L, error);
}

void bj_push_retry_event(lua_State *L, int list, double delay, int attempt, int error)
{
    push_event(L, list, "retry");
    set_number(L, "delay", delay);
    set_integer(L, "attempt", attempt);
    set_error(L, error);
}

void bj_push_state_event(lua_State *L, int list, enum job_state from, enum job_state to)
{
    push_event(L, list, "state");
    lua_pushstring(L, job_state_name(from));
    lua_setfield(L, -2, "from");
    lua_pushstring(L, job_state_name(to));
    lua_setfield(L, -2, "to");
}

/* As createdDate is written in job info. */
static void set_time(lua_State *L, const char *name, double seconds)
{
    char text[40];
    struct tm tm;
    time_t at = (time_t)seconds;
    gmtime_r(&at, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000+0000", &tm);
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

void bj_push_stray_event(lua_State *L, int list, int spec, int count, double from, double to)
{
    static const char *const fields[] = {"object", "operation"};
    push_event(L, list, "stray");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        lua_getfield(L, spec, fields[i]);
        lua_setfield(L, -2, fields[i]);
    }
    set_integer(L, "count", count);
    set_time(L, "from", from);
    set_time(L, "to", to);
}
