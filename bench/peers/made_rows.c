/* The strings and tables of CSV to rows, made by Lua's C interface as the module makes them, with nothing of CSV: what
 * is left of its time is what it could do without. For bench/lib/work.lua. */
#include "../../src/compat.h"

#include <string.h>

enum { FIELDS = 10 };

struct value {
    const char *data;
    size_t len;
};

/* Their bytes are behind them. */
struct values {
    size_t count;
    size_t at;
    struct value list[];
};

/* The iterator: makes the next row, and behind the last one the first again. */
static int next_row(lua_State *L)
{
    struct values *v = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    for (int i = 0; i < FIELDS; i++) {
        const struct value *value = &v->list[v->at++];
        lua_pushlstring(L, value->data, value->len);
    }
    if (v->at == v->count)
        v->at = 0;
    lua_call(L, FIELDS, 1);
    return 1;
}

/* made_rows(values, make) -> iterator: an array of strings, ten for each row, and a function that makes ten values a
 * row
 */
static int new_rows(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    size_t count = lua_rawlen(L, 1);
    size_t bytes = 0;
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, (int)i);
        bytes += lua_rawlen(L, -1);
        lua_pop(L, 1);
    }
    struct values *v = lua_newuserdata(L, sizeof *v + count * sizeof v->list[0] + bytes);
    char *data = (char *)&v->list[count];
    v->count = count;
    v->at = 0;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        const char *text = luaL_checklstring(L, -1, &v->list[i].len);
        v->list[i].data = memcpy(data, text, v->list[i].len);
        data += v->list[i].len;
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, next_row, 2);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_made_rows(lua_State *L);

int luaopen_made_rows(lua_State *L)
{
    lua_pushcfunction(L, new_rows);
    return 1;
}
