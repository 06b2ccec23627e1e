#include "l_class.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Values that a call keeps: a table that grows is made anew, four times until then. */
enum { KEPT = 8 };

/* The metatable stands in the registry under the address of its name, which is that of this copy of the core alone:
 * another one in the same state, after an upgrade or a reload, has others, and objects that look otherwise. */
void bj_get_class(lua_State *L, const char *name)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, name);
}

void *bj_check_object(lua_State *L, int i, const char *name)
{
    void *p = lua_touserdata(L, i);
    if (p && lua_getmetatable(L, i)) {
        bj_get_class(L, name);
        if (!lua_rawequal(L, -1, -2))
            p = NULL;
        lua_pop(L, 2);
    } else {
        p = NULL;
    }
    if (!p) {
        lua_pushfstring(L, "%s expected, got %s", name, luaL_typename(L, i));
        luaL_argerror(L, i, lua_tostring(L, -1));
    }
    return p;
}

void bj_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    bj_get_class(L, name);
    if (lua_isnil(L, -1)) { /* else the module is opened once more, and its objects live on */
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        bj_rawsetp(L, LUA_REGISTRYINDEX, name);
    }
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    if (meta)
        bj_setfuncs(L, meta);
    if (methods) {
        lua_newtable(L); /* mt, methods */
        bj_setfuncs(L, methods);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

void *bj_new_object(lua_State *L, const char *name, size_t size)
{
    void *p = lua_newuserdata(L, size);
    memset(p, 0, size);
    lua_createtable(L, 0, KEPT);
    bj_setuservalue(L, -2);
    /* Last, so that __gc never sees an object whose maker had no chance to fill it in. */
    bj_get_class(L, name);
    lua_setmetatable(L, -2);
    return p;
}

void bj_keep(lua_State *L, int i, const char *name)
{
    bj_getuservalue(L, i); /* value, kept */
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

void bj_kept(lua_State *L, int i, const char *name)
{
    bj_getuservalue(L, i);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

void bj_push_host(lua_State *L, const char *name)
{
    bj_pushglobals(L);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED"); /* package.loaded */
    if (lua_istable(L, -1)) {
        lua_pushstring(L, name);
        lua_rawget(L, -2);
    } else {
        lua_pushnil(L);
    }
    lua_remove(L, -2);
}

/* lua_error does not return, but is not declared so. */
_Noreturn static void raise_top(lua_State *L)
{
    lua_error(L);
    abort();
}

void bj_misuse(lua_State *L, const char *format, ...)
{
    va_list args;
    luaL_where(L, 1);
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    lua_concat(L, 2);
    raise_top(L);
}

void bj_raise(lua_State *L, const char *message)
{
    lua_pushstring(L, message);
    raise_top(L);
}

void bj_no_memory(lua_State *L)
{
    bj_raise(L, "not enough memory");
}
