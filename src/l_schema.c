/* The types of job info, whatever the wire sent. Field tables: Bulk API 2.0 guide, get_job_info and query_get_one_job.
 */
#include "l_schema.h"

#include "l_json.h"
#include "l_open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const integer_fields[] = {
    "numberRecordsProcessed", "numberRecordsFailed",     "retries",
    "totalProcessingTime",    "apiActiveProcessingTime", "apexProcessingTime",
};

static const char *const string_fields[] = {
    "id",
    "operation",
    "object",
    "createdById",
    "createdDate",
    "systemModstamp",
    "state",
    "jobType",
    "concurrencyMode",
    "contentType",
    "contentUrl",
    "lineEnding",
    "errorMessage",
    "assignmentRuleId",
    "externalIdFieldName",
    "columnDelimiter",
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* Pushes the number at `i` as an integer if it is a whole one; answers whether it did. */
static int push_whole(lua_State *L, int i)
{
    double n = lua_tonumber(L, i);
    if (!(fabs(n) <= BJ_WHOLE_MAX) || n != floor(n))
        return 0;
    bj_pushinteger(L, (long long)n);
    return 1;
}

/* Sets the field whose key and value are on top to nil, which is allowed while the table at `i` is walked over. */
static void remove_field(lua_State *L, int i)
{
    lua_pushvalue(L, -2);
    lua_pushnil(L);
    lua_rawset(L, i);
}

static void remove_nulls(lua_State *L, int i)
{
    lua_pushnil(L);
    while (lua_next(L, i)) { /* key, value */
        if (bj_is_null(L, -1))
            remove_field(L, i);
        lua_pop(L, 1);
    }
}

static int is_string_field(const char *name)
{
    for (size_t f = 0; f < COUNT(string_fields); f++)
        if (strcmp(name, string_fields[f]) == 0)
            return 1;
    return 0;
}

/* 66.0 on the wire, "66.0" in the schema. */
static void type_version(lua_State *L, int i)
{
    lua_getfield(L, i, "apiVersion");
    if (lua_type(L, -1) == LUA_TNUMBER) {
        long tenths = lround(lua_tonumber(L, -1) * 10);
        char text[40];
        snprintf(text, sizeof text, "%ld.%ld", tenths / 10, labs(tenths % 10));
        lua_pushstring(L, text);
        lua_setfield(L, i, "apiVersion");
    }
    lua_pop(L, 1);
}

void bj_type_job_info(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lua_pushnil(L);
    while (lua_next(L, i)) { /* key, value */
        if (bj_is_null(L, -1)) {
            remove_field(L, i);
        } else if (lua_type(L, -1) == LUA_TNUMBER && lua_type(L, -2) == LUA_TSTRING &&
                   is_string_field(lua_tostring(L, -2))) {
            lua_pushvalue(L, -2);
            lua_pushstring(L, lua_tostring(L, -2));
            lua_rawset(L, i);
        }
        lua_pop(L, 1);
    }
    for (size_t f = 0; f < COUNT(integer_fields); f++) {
        lua_getfield(L, i, integer_fields[f]);
        if (lua_isnumber(L, -1) && push_whole(L, -1))
            lua_setfield(L, i, integer_fields[f]);
        lua_pop(L, 1);
    }
    type_version(L, i);
    lua_getfield(L, i, "isPkChunkingSupported");
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushboolean(L, strcmp(lua_tostring(L, -1), "true") == 0);
        lua_setfield(L, i, "isPkChunkingSupported");
    }
    lua_pop(L, 1);
}

void bj_type_plain(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    luaL_checkstack(L, 8, "answer nested too deeply");
    remove_nulls(L, i);
    lua_pushnil(L);
    while (lua_next(L, i)) { /* key, value */
        if (lua_istable(L, -1)) {
            bj_type_plain(L, -1);
        } else if (lua_type(L, -1) == LUA_TNUMBER && push_whole(L, -1)) { /* key, value, integer */
            lua_pushvalue(L, -3);
            lua_insert(L, -2);
            lua_rawset(L, i);
        }
        lua_pop(L, 1);
    }
}

/* core.type_job_info(table): as it says, in place */
static int type_job_info(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    bj_type_job_info(L, 1);
    return 0;
}

void bj_open_schema(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"type_job_info", type_job_info},
        {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
