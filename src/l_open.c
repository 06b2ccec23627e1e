/* require "bulkjob.core" */
#include "l_open.h"

#include "bulkjob.h"
#include "l_class.h"
#include "version.h"

#ifdef __linux__
#include <dlfcn.h>
#endif

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

/* core.host(name) -> what the host has under this name, such as nginx's `ngx`, or nil */
static int host(lua_State *L)
{
    bj_push_host(L, luaL_checkstring(L, 1));
    return 1;
}

__attribute__((visibility("default"))) int luaopen_bulkjob_core(lua_State *L)
{
    pin_shared_object();
    lua_newtable(L);
    lua_pushcfunction(L, host);
    lua_setfield(L, -2, "host");
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
    bj_open_drive(L);
    bj_open_verbs(L);
    bj_open_auth(L);
    bj_open_terminal(L);
    lua_pushliteral(L, BJ_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
