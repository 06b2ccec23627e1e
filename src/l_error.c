/* Error tables: plain data with a readable line. */
#include "l_error.h"

#include "l_open.h"
#include "l_secret.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static const char ERROR_CLASS[] = "bulkjob.error";

/* A line on a terminal, not a page of HTML; and what is kept of the service's text. */
enum { MESSAGE_SHOWN = 1000, MESSAGE_KEPT = 64 * 1024 };

static void push_error_v(lua_State *L, const char *kind, const char *code, const char *format, va_list args)
{
    lua_createtable(L, 0, 8); /* err */
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "kind");
    if (code) {
        lua_pushstring(L, code);
        lua_setfield(L, -2, "code");
    }
    lua_pushvfstring(L, format, args);
    bj_mask_top(L, MESSAGE_KEPT);
    lua_setfield(L, -2, "message");
    bj_get_class(L, ERROR_CLASS);
    lua_setmetatable(L, -2);
}

void bj_push_error(lua_State *L, const char *kind, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    push_error_v(L, kind, code, format, args);
    va_end(args);
}

int bj_fail(lua_State *L, const char *kind, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lua_pushnil(L);
    push_error_v(L, kind, code, format, args);
    va_end(args);
    return 2;
}

void bj_add_message(lua_State *L, const char *format, const char *value)
{
    lua_getfield(L, -1, "message");
    lua_pushfstring(L, format, value);
    bj_mask_top(L, MESSAGE_KEPT);
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
}

void bj_copy_fields(lua_State *L, int from, int to)
{
    from = lua_absindex(L, from);
    to = lua_absindex(L, to);
    lua_pushnil(L);
    while (lua_next(L, from)) { /* key, value */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, to);
    }
}

void bj_add_fields(lua_State *L, int from, int to)
{
    from = lua_absindex(L, from);
    to = lua_absindex(L, to);
    lua_pushnil(L);
    while (lua_next(L, from)) { /* key, value */
        lua_pushvalue(L, -2);
        lua_rawget(L, to);
        bool there = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (there) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, to);
    }
}

/* Adds the string field `name` of the error at 1, made fit for one line: the service's text may hold anything. */
static int add_field(lua_State *L, luaL_Buffer *b, const char *before, const char *name, const char *after)
{
    char shown[MESSAGE_SHOWN];
    size_t len;
    size_t n = 0;
    int is_string;

    lua_getfield(L, 1, name);
    is_string = lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER;
    if (is_string) {
        const char *s = lua_tolstring(L, -1, &len);
        int space = 0;
        for (size_t i = 0; i < len && n < sizeof shown; i++) {
            unsigned char c = (unsigned char)s[i];
            if (c <= ' ' || c == 0x7f) {
                space = n > 0;
                continue;
            }
            if (space && n + 1 < sizeof shown)
                shown[n++] = ' ';
            space = 0;
            if (n < sizeof shown)
                shown[n++] = (char)c;
        }
    }
    lua_pop(L, 1);
    if (!is_string)
        return 0;
    luaL_addstring(b, before);
    luaL_addlstring(b, shown, n);
    luaL_addstring(b, after);
    return 1;
}

/* "api INVALIDJOBSTATE: text (PATCH https://…, HTTP 400, job 750…, after 3 attempts)" */
static int error_tostring(lua_State *L)
{
    luaL_Buffer b;
    int more = 0;
    int attempts;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "attempts");
    attempts = (int)lua_tonumber(L, -1);
    lua_settop(L, 1);
    luaL_buffinit(L, &b);
    add_field(L, &b, "", "kind", " error");
    add_field(L, &b, " ", "code", "");
    add_field(L, &b, ": ", "message", "");
    more |= add_field(L, &b, " (", "method", " ") && add_field(L, &b, "", "url", "");
    more |= add_field(L, &b, more ? ", HTTP " : " (HTTP ", "status", "");
    more |= add_field(L, &b, more ? ", job " : " (job ", "job_id", "");
    if (attempts > 1)
        more |= add_field(L, &b, more ? ", after " : " (after ", "attempts", " attempts");
    if (more)
        luaL_addchar(&b, ')');
    luaL_pushresult(&b);
    return 1;
}

/* Users write "failed: " .. err. */
static int error_concat(lua_State *L)
{
    for (int i = 1; i <= 2; i++) {
        if (lua_type(L, i) == LUA_TTABLE) {
            lua_pushcfunction(L, error_tostring);
            lua_pushvalue(L, i);
            lua_call(L, 1, 1);
            lua_replace(L, i);
        }
    }
    lua_settop(L, 2);
    lua_concat(L, 2);
    return 1;
}

/* core.error(kind, message [, fields]) -> err: the error tables that the Lua half makes. `fields` are copied in. */
static int new_error(lua_State *L)
{
    const char *kind = luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    bj_push_error(L, kind, NULL, "");
    lua_pushvalue(L, 2);
    bj_mask_top(L, MESSAGE_KEPT);
    lua_setfield(L, 4, "message");
    if (lua_istable(L, 3))
        bj_copy_fields(L, 3, 4);
    return 1;
}

/* core.is_error(value) -> boolean */
static int is_error(lua_State *L)
{
    int yes = 0;
    if (lua_istable(L, 1) && lua_getmetatable(L, 1)) {
        bj_get_class(L, ERROR_CLASS);
        yes = lua_rawequal(L, -1, -2);
    }
    lua_pushboolean(L, yes);
    return 1;
}

void bj_open_error(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__tostring", error_tostring},
        {"__concat", error_concat},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"error", new_error},
        {"is_error", is_error},
        {NULL, NULL},
    };
    bj_new_class(L, ERROR_CLASS, NULL, meta);
    bj_setfuncs(L, functions);
}
