/* lua-cjson, in an instance of our own so that the host's settings stay the host's.
 *
 * One thing all instances in a process share: the decimal point, which lua-cjson asks the locale for when an instance
 * is made, and then expects for ever. The host may choose another locale at any moment, before or after that. */
#include "l_json.h"

#include "l_open.h"
#include "l_schema.h"
#include "numeric.h"
#include "surrogates.h"

#include <stdbool.h>
#include <string.h>

static const char decode_key;
static const char encode_key;
static const char new_key;
static const char sample_key;

int bj_is_null(lua_State *L, int i)
{
    return lua_islightuserdata(L, i) && lua_touserdata(L, i) == NULL;
}

/* Does lua-cjson read a fraction in the locale at hand? Allocates no text: the locale must not stay changed. */
static bool reads_fractions(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &decode_key);
    bj_rawgetp(L, LUA_REGISTRYINDEX, &sample_key);
    bool reads = lua_pcall(L, 1, 1, 0) == 0;
    lua_pop(L, 1);
    return reads;
}

/* Calls the function of lua-cjson below its argument, both on top, in a locale with the point that it expects. The
 * status of lua_pcall. */
static int call_cjson(lua_State *L)
{
    luaL_checkstack(L, 4, "JSON");
    locale_t before = numeric_enter();
    if (!reads_fractions(L)) {
        numeric_leave(before);
        if (!reads_fractions(L)) { /* it is right for neither, so for nobody else either: it looks anew */
            numeric_enter();
            bj_rawgetp(L, LUA_REGISTRYINDEX, &new_key);
            lua_pcall(L, 0, 0, 0);
        }
    }
    int status = lua_pcall(L, 1, 1, 0);
    numeric_leave(before);
    return status;
}

static int decode(lua_State *L, const char *text, size_t len)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &decode_key);
    lua_pushlstring(L, text, len);
    if (call_cjson(L) == 0)
        return 1;
    lua_pop(L, 1);
    return 0;
}

int bj_json_decode(lua_State *L, const char *text, size_t len)
{
    if (decode(L, text, len))
        return 1;
    char *copy = lua_newuserdata(L, len + 1);
    memcpy(copy, text, len);
    int good = surrogates_mend(copy, len) && decode(L, copy, len);
    lua_remove(L, good ? -2 : -1);
    return good;
}

void bj_json_encode(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &encode_key);
    lua_insert(L, -2);
    if (call_cjson(L) != 0)
        lua_error(L);
}

/* core.json_decode(text) -> value | nil: nil when it is not JSON. Whole numbers are integers, nulls are absent. */
static int json_decode(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    if (!bj_json_decode(L, text, len))
        lua_pushnil(L);
    else if (lua_istable(L, -1))
        bj_type_plain(L, lua_gettop(L));
    return 1;
}

/* core.json_encode(value) -> text; raises for what JSON cannot hold */
static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    bj_json_encode(L);
    return 1;
}

void bj_open_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"json_decode", json_decode},
        {"json_encode", json_encode},
        {NULL, NULL},
    };
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cjson");
    lua_call(L, 1, 1); /* cjson */
    lua_getfield(L, -1, "new");
    lua_pushvalue(L, -1);
    bj_rawsetp(L, LUA_REGISTRYINDEX, &new_key);
    lua_pushliteral(L, "[0.5]");
    bj_rawsetp(L, LUA_REGISTRYINDEX, &sample_key);
    lua_call(L, 0, 1); /* cjson, ours */
    lua_getfield(L, -1, "decode");
    bj_rawsetp(L, LUA_REGISTRYINDEX, &decode_key);
    lua_getfield(L, -1, "encode");
    bj_rawsetp(L, LUA_REGISTRYINDEX, &encode_key);
    lua_pop(L, 2);
    bj_setfuncs(L, functions);
    lua_pushlightuserdata(L, NULL); /* the same value as cjson.null and ngx.null */
    lua_setfield(L, -2, "null");
}
