/* require "bulkjob.core" */
#include "l_bulkjob.h"

#include "bulkjob.h"
#include "version.h"

#include <string.h>
#ifdef __linux__
#include <dlfcn.h>
#endif

void bj_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    luaL_newmetatable(L, name); /* mt */
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
    lua_newtable(L);
    bj_setuservalue(L, -2);
    /* Last, so that __gc never sees an object whose maker had no chance to fill it in. */
    luaL_getmetatable(L, name);
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

/* A thread of ours may outlive the Lua state that loaded us (libcurl's resolver threads do when a name server hangs),
 * so the code must stay where it is. Where the core is linked into the program this finds nothing to pin. */
static void pin_shared_object(void)
{
#ifdef __linux__
    Dl_info info;
    static const char here = 0;
    if (dladdr(&here, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
#endif
}

__attribute__((visibility("default"))) int luaopen_bulkjob_core(lua_State *L)
{
    pin_shared_object();
    lua_newtable(L);
    bj_open_error(L);
    bj_open_json(L);
    bj_open_schema(L);
    bj_open_csv(L);
    bj_open_csv_check(L);
    bj_open_file(L);
    bj_open_directory(L);
    bj_open_engine(L);
    bj_open_channel(L);
    bj_open_client(L);
    bj_open_job(L);
    bj_open_call(L);
    bj_open_auth(L);
    bj_open_terminal(L);
    lua_pushliteral(L, BULKJOB_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
