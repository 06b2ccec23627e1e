/* One Lua C API for 5.1 to 5.4 and LuaJIT. The only file that asks which Lua this is. */
#ifndef BULKJOB_COMPAT_H
#define BULKJOB_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#if LUA_VERSION_NUM >= 503
#define BJ_HAS_INTEGER 1
#else
#define BJ_HAS_INTEGER 0
#endif

#if LUA_VERSION_NUM < 502

#define lua_rawlen(L, i) lua_objlen(L, (i))

static inline int bj_absindex(lua_State *L, int i)
{
    return (i > 0 || i <= LUA_REGISTRYINDEX) ? i : lua_gettop(L) + i + 1;
}
#define lua_absindex(L, i) bj_absindex(L, (i))

/* The table that belongs to a userdata: its environment here, its user value from 5.2 on. */
static inline void bj_setuservalue(lua_State *L, int i)
{
    lua_setfenv(L, i);
}
static inline void bj_getuservalue(lua_State *L, int i)
{
    lua_getfenv(L, i);
}

static inline void bj_pushglobals(lua_State *L)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
}

/* A light userdata as key: LuaJIT's pointers have 47 bits, which static addresses fit. */
static inline void bj_rawgetp(lua_State *L, int i, const void *p)
{
    i = lua_absindex(L, i);
    lua_pushlightuserdata(L, (void *)(size_t)p);
    lua_rawget(L, i);
}
static inline void bj_rawsetp(lua_State *L, int i, const void *p)
{
    i = lua_absindex(L, i);
    lua_pushlightuserdata(L, (void *)(size_t)p);
    lua_insert(L, -2);
    lua_rawset(L, i);
}

static inline void bj_setfuncs(lua_State *L, const luaL_Reg *l)
{
    for (; l->name; l++) {
        lua_pushcfunction(L, l->func);
        lua_setfield(L, -2, l->name);
    }
}

#else

static inline void bj_setuservalue(lua_State *L, int i)
{
    lua_setuservalue(L, i);
}
static inline void bj_getuservalue(lua_State *L, int i)
{
    lua_getuservalue(L, i);
}
static inline void bj_pushglobals(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}
static inline void bj_rawgetp(lua_State *L, int i, const void *p)
{
    lua_rawgetp(L, i, p);
}
static inline void bj_rawsetp(lua_State *L, int i, const void *p)
{
    lua_rawsetp(L, i, p);
}
static inline void bj_setfuncs(lua_State *L, const luaL_Reg *l)
{
    luaL_setfuncs(L, l, 0);
}
#endif

/* A whole number as an integer where Lua has integers, so that 5 does not print as 5.0. */
static inline void bj_pushinteger(lua_State *L, long long n)
{
#if BJ_HAS_INTEGER
    if ((lua_Integer)n == n) { /* Lua may be built with integers of 32 bits */
        lua_pushinteger(L, (lua_Integer)n);
        return;
    }
#endif
    lua_pushnumber(L, (lua_Number)n);
}

/* Is the number at `i` one of Lua's integers? Never where Lua has none. */
static inline int bj_isinteger(lua_State *L, int i)
{
#if BJ_HAS_INTEGER
    return lua_isinteger(L, i);
#else
    (void)L;
    (void)i;
    return 0;
#endif
}

#endif
