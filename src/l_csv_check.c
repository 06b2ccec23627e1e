/* core.csv_check: looks through CSV before it is sent. */
#include "l_csv.h"

#include "csv_check.h"
#include "l_error.h"
#include "l_file.h"
#include "l_open.h"

#include <math.h>
#include <string.h>

static const char CHECK_CLASS[] = "bulkjob.csv_check";

struct check_box {
    struct csv_check *check; /* NULL: closed */
};

static struct csv_check *check_check(lua_State *L, int i)
{
    struct check_box *box = bj_check_object(L, i, CHECK_CLASS);
    if (!box->check)
        bj_misuse(L, "bulkjob.csv: this check is closed");
    return box->check;
}

/* Every whole number up to this one is a lua_Number. */
#define WHOLE_MAX 9007199254740992.0

/* The option part_bytes on top. 0 for nil. */
static unsigned long long check_part_bytes(lua_State *L)
{
    if (lua_isnil(L, -1))
        return 0;
    lua_Number n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    if (!(n >= 1 && n <= WHOLE_MAX && n == floor(n)))
        bj_misuse(L, "bulkjob.csv: part_bytes: a whole number from 1 on expected");
    return (unsigned long long)n;
}

/* core.csv_check { delimiter =, part_bytes =, sha256 = } -> check: all optional */
static int new_check(lua_State *L)
{
    struct csv_check_options options = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "delimiter");
    options.delimiter = bj_check_delimiter(L);
    lua_getfield(L, 1, "part_bytes");
    options.part_bytes = check_part_bytes(L);
    lua_getfield(L, 1, "sha256");
    options.sha256 = lua_toboolean(L, -1);
    struct check_box *box = bj_new_object(L, CHECK_CLASS, sizeof *box);
    box->check = csv_check_new(&options);
    if (!box->check)
        bj_no_memory(L);
    return 1;
}

static int fail(lua_State *L, const struct csv_check *c)
{
    unsigned long long line;
    unsigned long long byte;
    size_t column;
    const char *text = csv_check_error(c, &line, &byte, &column);
    bj_fail(L, BJ_ERR_CSV, NULL, "%s", text);
    bj_at_place(L, line, byte);
    bj_kept(L, 1, "columns");
    if (column && lua_istable(L, -1)) {
        lua_rawgeti(L, -1, (int)column);
        lua_setfield(L, -3, "column");
    }
    lua_pop(L, 1);
    return 2;
}

static void keep_columns(lua_State *L, const struct csv_row *header)
{
    lua_createtable(L, (int)header->count, 0);
    for (size_t i = 0; i < header->count; i++) {
        lua_pushlstring(L, header->fields[i].data, header->fields[i].len);
        lua_rawseti(L, -2, (int)i + 1);
    }
    bj_keep(L, 1, "columns");
}

static int run(lua_State *L, struct csv_check *c)
{
    struct csv_row header;
    enum csv_event e;
    while ((e = csv_check_run(c, &header)) == CSV_ROW)
        keep_columns(L, &header);
    if (e == CSV_FAILED)
        return fail(L, c);
    lua_pushboolean(L, 1);
    return 1;
}

/* check:feed(text) -> true | nil, err */
static int feed(lua_State *L)
{
    struct csv_check *c = check_check(L, 1);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    lua_settop(L, 2);
    return csv_check_feed(c, text, len) ? run(L, c) : fail(L, c);
}

/* check:read(input) -> true | false (the file has no more) | nil, err: feeds the next bytes of a core.open_input */
static int read_file(lua_State *L)
{
    struct csv_check *c = check_check(L, 1);
    size_t n;
    lua_settop(L, 2);
    char *room = csv_check_space(c, BJ_FILE_PIECE);
    if (!room)
        return fail(L, c);
    int results = bj_read_input(L, 2, room, BJ_FILE_PIECE, &n);
    if (results)
        return results;
    csv_check_filled(c, n);
    if (n)
        return run(L, c);
    lua_pushboolean(L, 0);
    return 1;
}

/* check:finish() -> true | nil, err: no more text comes */
static int finish(lua_State *L)
{
    struct csv_check *c = check_check(L, 1);
    lua_settop(L, 1);
    csv_check_finish(c);
    return run(L, c);
}

static void set_number(lua_State *L, const char *name, unsigned long long n)
{
    bj_pushinteger(L, (long long)n);
    lua_setfield(L, -2, name);
}

/* check:parts() -> array of { first =, last =, records =, digest = }, those that are complete and were not asked for
 * yet; bytes from 1, as string.sub counts them; the digest is that of an upload of the header and these bytes */
static int parts(lua_State *L)
{
    struct csv_check *c = check_check(L, 1);
    size_t count;
    const struct csv_part *p = csv_check_parts(c, &count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 4);
        set_number(L, "first", p[i].first + 1);
        set_number(L, "last", p[i].end);
        set_number(L, "records", p[i].records);
        lua_pushstring(L, p[i].digest);
        lua_setfield(L, -2, "digest");
        lua_rawseti(L, -2, (int)i + 1);
    }
    csv_check_drop_parts(c);
    return 1;
}

/* check:facts() -> { columns =, columnDelimiter =, lineEnding =, records =, bytes =, header_first =, header_last =,
 * sha256 = } */
static int facts(lua_State *L)
{
    const struct csv_facts *f = csv_check_facts(check_check(L, 1));
    lua_createtable(L, 0, 8);
    bj_kept(L, 1, "columns");
    lua_setfield(L, -2, "columns");
    lua_pushstring(L, csv_delimiter_name(f->delimiter));
    lua_setfield(L, -2, "columnDelimiter");
    lua_pushstring(L, f->crlf ? "CRLF" : "LF");
    lua_setfield(L, -2, "lineEnding");
    set_number(L, "records", f->records);
    set_number(L, "bytes", f->bytes);
    set_number(L, "header_first", f->header_first + 1);
    set_number(L, "header_last", f->header_end);
    if (f->sha256[0]) {
        lua_pushstring(L, f->sha256);
        lua_setfield(L, -2, "sha256");
    }
    return 1;
}

static int close_check(lua_State *L)
{
    struct check_box *box = bj_check_object(L, 1, CHECK_CLASS);
    csv_check_free(box->check);
    box->check = NULL;
    return 0;
}

void bj_open_csv_check(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"feed", feed},   {"read", read_file},    {"finish", finish}, {"parts", parts},
        {"facts", facts}, {"close", close_check}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_check},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"csv_check", new_check},
        {NULL, NULL},
    };
    bj_new_class(L, CHECK_CLASS, methods, meta);
    bj_setfuncs(L, functions);
}
