/* The command as one program, for machines without Lua: Lua, the modules of bulkjob and those it needs are inside
 * (`make standalone`). It looks for no Lua file anywhere, so that neither the environment nor a file in the current
 * directory can take the place of one of its modules. */
#include "bulkjob.h"
#include "modules.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INTERNAL_ERROR = 3, LONGEST_PATH = 4096 };

/* Of lua-cjson, which has no header for it on every system. */
int luaopen_cjson(lua_State *L);

/* A loader as package.preload has them: (name) -> the module. Its upvalue is the module's text. */
static int load_embedded(lua_State *L)
{
    const struct embedded *module = lua_touserdata(L, lua_upvalueindex(1));
    if (luaL_loadbufferx(L, (const char *)module->text, module->size, module->chunk, "t"))
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* package.preload has all modules, and package.path and package.cpath lead nowhere. */
static void install_modules(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "path");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "cpath");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_bulkjob_core);
    lua_setfield(L, -2, "bulkjob.core");
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    for (const struct embedded *module = embedded; module->name; module++) {
        lua_pushlightuserdata(L, (void *)(size_t)module);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, module->name);
    }
    lua_settop(L, 0);
}

/* The path of this program: as it was called, or, where it was found by PATH, from the system. */
static void push_program(lua_State *L, const char *called)
{
    char path[LONGEST_PATH];
    ssize_t length = called && strchr(called, '/') ? -1 : readlink("/proc/self/exe", path, sizeof path);
    if (length > 0)
        lua_pushlstring(L, path, (size_t)length);
    else
        lua_pushstring(L, called ? called : "bulkjob");
}

struct command_line {
    int count;
    char **words;
};

/* require "bulkjob.cli" (arg) -> the exit code. Under lua_pcall, since any of it may raise an error. */
static int run(lua_State *L)
{
    const struct command_line line = *(const struct command_line *)lua_touserdata(L, 1);
    lua_settop(L, 0);
    luaL_openlibs(L);
    install_modules(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "bulkjob.cli");
    lua_call(L, 1, 1);
    lua_newtable(L);
    push_program(L, line.count > 0 ? line.words[0] : NULL);
    lua_rawseti(L, -2, 0);
    for (int i = 1; i < line.count; i++) {
        lua_pushstring(L, line.words[i]);
        lua_rawseti(L, -2, i);
    }
    lua_pushvalue(L, -1);
    lua_setglobal(L, "arg");
    lua_call(L, 1, 1);
    return 1;
}

int main(int count, char **words)
{
    lua_State *L = luaL_newstate();
    if (!L) {
        fputs("bulkjob: no memory\n", stderr);
        return INTERNAL_ERROR;
    }
    struct command_line line = {count, words};
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, &line);
    int code = INTERNAL_ERROR;
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        code = (int)lua_tointeger(L, -1);
    } else {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "bulkjob: %s\n", text ? text : "an error that is no text");
    }
    lua_close(L); /* ends what is under way, and joins the engine's thread */
    return code;
}
