/* CSV for Lua: a reader that is fed and gives row tables, a writer that takes row tables and gives text. */
#include "l_csv.h"

#include "l_error.h"
#include "l_file.h"
#include "l_json.h"
#include "l_open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char READER_CLASS[] = "bulkjob.csv_reader";
static const char WRITER_CLASS[] = "bulkjob.csv_writer";

/* A user reads what was written long before this. */
#define WRITER_MAX ((size_t)1 << 30)

/* No service takes a longer record, and a size_t holds it. */
#define RECORD_MAX ((lua_Number)(1 << 30))

char bj_check_delimiter(lua_State *L)
{
    if (lua_isnil(L, -1))
        return 0;
    size_t len;
    const char *name = luaL_checklstring(L, -1, &len);
    char c = len == 1 ? name[0] : csv_delimiter_char(name);
    if (!c || c == '"' || c == '\n' || c == '\r')
        bj_misuse(L,
                  "bulkjob.csv: delimiter: one character, or BACKQUOTE, CARET, COMMA, PIPE, SEMICOLON or TAB "
                  "expected, got '%s'",
                  name);
    return c;
}

/* ---- functions for rows of certain columns ---- */

/* With more columns than that, rows are handled field by field: a function of Lua has some 200 registers. */
enum { MOST_FIELDS = 100 };

/* Lua code for names: what stands at both ends, around each, and in place of it. */
struct shape {
    const char *start;
    const char *before;
    bool named;
    const char *after;
    bool numbered; /* its place follows */
    const char *end;
};

/* Adds Lua code for the names in the array on top; each byte of one that is no small letter by its number. */
static bool add_code(lua_State *L, struct buf *code, const struct shape *shape, int count)
{
    char piece[16];
    bool ok = buf_add_string(code, shape->start);
    for (int i = 1; i <= count; i++) {
        size_t len;
        lua_rawgeti(L, -1, i);
        const char *name = lua_tolstring(L, -1, &len);
        ok = ok && buf_add_string(code, i > 1 ? "," : "") && buf_add_string(code, shape->before);
        for (size_t k = 0; k < len && shape->named; k++) {
            unsigned char c = (unsigned char)name[k];
            snprintf(piece, sizeof piece, c >= 'a' && c <= 'z' ? "%c" : "\\%03d", c);
            ok = ok && buf_add_string(code, piece);
        }
        snprintf(piece, sizeof piece, "%d", i);
        ok = ok && buf_add_string(code, shape->after) && buf_add_string(code, shape->numbered ? piece : "");
        lua_pop(L, 1);
    }
    return ok && buf_add_string(code, shape->end);
}

/* The place of a function for rows among what is kept with an object. */
enum { RUN = 1 };

/* Keeps with the object at `i` a function of Lua for rows that have the columns on top: it makes a row of their values,
 * or takes them out of one. The interpreter knows the names beforehand. In LuaJIT that takes a tenth off the time of
 * reading beside a call of the C interface for each field, and most of the time of writing. */
static void keep_function(lua_State *L, int i, int count, bool makes)
{
    static const struct shape parameters = {"return function(", "", false, "v", true, ")"};
    static const struct shape maker = {" return {", "[\"", true, "\"]=v", true, "} end"};
    static const struct shape taker = {"return function(row) return ", "row[\"", true, "\"]", false, " end"};
    struct buf code;
    if (count > MOST_FIELDS)
        return;
    buf_init(&code, WRITER_MAX);
    bool ok = makes ? add_code(L, &code, &parameters, count) && add_code(L, &code, &maker, count)
                    : add_code(L, &code, &taker, count);
    int status = ok ? luaL_loadbuffer(L, code.data, code.len, "=row") : 0;
    buf_free(&code);
    if (!ok)
        bj_no_memory(L);
    if (status)
        lua_error(L);
    lua_call(L, 0, 1);
    bj_getuservalue(L, i);
    lua_insert(L, -2);
    lua_rawseti(L, -2, RUN);
    lua_pop(L, 1);
}

/* Pushes that function, or nil, and below it the table in which it is. It has a number, not a name, because each row
 * needs it. */
static void push_function(lua_State *L, int i)
{
    bj_getuservalue(L, i);
    lua_rawgeti(L, -1, RUN);
}

/* ---- reader ---- */

struct csv_box {
    struct csv_reader *reader; /* NULL: closed */
    int headed;                /* the header has arrived in Lua */
    int broken;                /* a record was taken from it and never arrived in Lua: there is no way on */
    char *types;               /* the first letter of the type of each column; NULL: all are text, empty ones too */
};

static struct csv_box *check_reader(lua_State *L, int i)
{
    struct csv_box *box = bj_check_object(L, i, READER_CLASS);
    if (!box->reader)
        bj_misuse(L, "bulkjob.csv: this reader is closed");
    return box;
}

struct csv_reader *bj_check_csv_reader(lua_State *L, int i)
{
    return check_reader(L, i)->reader;
}

/* The size in bytes on top. 0 for nil. */
static size_t check_max_record(lua_State *L)
{
    if (lua_isnil(L, -1))
        return 0;
    lua_Number n = luaL_checknumber(L, -1);
    if (!(n >= 1 && n <= RECORD_MAX))
        bj_misuse(L, "bulkjob.csv: max_record: a number of bytes expected, 1 to 2^30");
    return (size_t)n;
}

/* core.csv_reader { delimiter =, max_record = } -> reader: all optional; without a delimiter it is found in the header
 */
static int new_reader(lua_State *L)
{
    struct csv_options options = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "delimiter");
    options.delimiter = bj_check_delimiter(L);
    lua_getfield(L, 1, "max_record");
    options.max_record = check_max_record(L);
    struct csv_box *box = bj_new_object(L, READER_CLASS, sizeof *box);
    box->reader = csv_reader_new(&options);
    if (!box->reader)
        bj_no_memory(L);
    return 1;
}

int bj_at_place(lua_State *L, unsigned long long line, unsigned long long byte)
{
    bj_pushinteger(L, (long long)line);
    lua_setfield(L, -2, "line");
    bj_pushinteger(L, (long long)byte);
    lua_setfield(L, -2, "byte");
    return 2;
}

int bj_fail_csv(lua_State *L, const struct csv_reader *r)
{
    unsigned long long line;
    unsigned long long byte;
    csv_reader_place(r, &line, &byte);
    bj_fail(L, BJ_ERR_CSV, NULL, "%s", csv_reader_error(r));
    return bj_at_place(L, line, byte);
}

/* reader:feed(text) -> true | nil, err */
static int reader_feed(lua_State *L)
{
    struct csv_reader *r = bj_check_csv_reader(L, 1);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    char *room = csv_reader_space(r, len);
    if (!room)
        return bj_fail_csv(L, r);
    memcpy(room, text, len);
    csv_reader_filled(r, len);
    lua_pushboolean(L, 1);
    return 1;
}

/* reader:read(input) -> true | false (the file has no more) | nil, err: feeds the next bytes of a core.open_input */
static int reader_read(lua_State *L)
{
    struct csv_reader *r = bj_check_csv_reader(L, 1);
    size_t n;
    lua_settop(L, 2);
    char *room = csv_reader_space(r, BJ_FILE_PIECE);
    if (!room)
        return bj_fail_csv(L, r);
    int results = bj_read_input(L, 2, room, BJ_FILE_PIECE, &n);
    if (results)
        return results;
    csv_reader_filled(r, n);
    lua_pushboolean(L, n > 0);
    return 1;
}

/* reader:finish(): no more text comes */
static int reader_finish(lua_State *L)
{
    csv_reader_finish(bj_check_csv_reader(L, 1));
    return 0;
}

/* Takes the first record as the names of the columns; the reader is at 1. Answers 0, or the results of a failure. */
static int take_header(lua_State *L, const struct csv_row *row)
{
    lua_createtable(L, (int)row->count, 0); /* columns */
    lua_createtable(L, 0, (int)row->count); /* columns, place of each name */
    for (size_t i = 0; i < row->count; i++) {
        int n = (int)i + 1;
        if (row->fields[i].len == 0) {
            bj_fail(L, BJ_ERR_CSV, NULL, "the header has no name for column %d", n);
            return bj_at_place(L, row->line, row->byte + 1);
        }
        lua_pushlstring(L, row->fields[i].data, row->fields[i].len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (!lua_isnil(L, -1)) {
            bj_fail(L, BJ_ERR_CSV, NULL, "the header names '%s' twice, in columns %d and %d", lua_tostring(L, -2),
                    (int)lua_tonumber(L, -1), n);
            return bj_at_place(L, row->line, row->byte + 1);
        }
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -4, n);
        lua_pushnumber(L, n);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
    keep_function(L, 1, (int)row->count, true);
    bj_keep(L, 1, "columns");
    return 0;
}

/* Pushes a value as its type says, where that loses nothing; else as text. */
static void push_typed(lua_State *L, const struct csv_field *f, char type)
{
    static const long long exact = 1LL << 53; /* behind it a double does not hold every whole number */
    long long integer;
    double number;
    if (type == 'i' && csv_parse_integer(f->data, f->len, &integer)) {
        bj_pushinteger(L, integer);
        if (bj_isinteger(L, -1) || (integer >= -exact && integer <= exact))
            return;
        lua_pop(L, 1);
    } else if (type == 'n' && csv_parse_number(f->data, f->len, &number)) {
        lua_pushnumber(L, number);
        return;
    } else if (type == 'b' && (f->len == 4 || f->len == 5)) {
        if (f->len == 4 && memcmp(f->data, "true", 4) == 0) {
            lua_pushboolean(L, 1);
            return;
        }
        if (f->len == 5 && memcmp(f->data, "false", 5) == 0) {
            lua_pushboolean(L, 0);
            return;
        }
    }
    lua_pushlstring(L, f->data, f->len);
}

/* Once the types are known, an empty value is nil. */
static void push_value(lua_State *L, const struct csv_box *box, const struct csv_row *row, size_t i)
{
    const struct csv_field *f = &row->fields[i];
    if (!box->types)
        lua_pushlstring(L, f->data, f->len);
    else if (f->len)
        push_typed(L, f, box->types[i]);
    else
        lua_pushnil(L);
}

static void push_row(lua_State *L, const struct csv_box *box, const struct csv_row *row)
{
    push_function(L, 1);
    if (!lua_isnil(L, -1)) {
        luaL_checkstack(L, (int)row->count + LUA_MINSTACK, "too many columns");
        for (size_t i = 0; i < row->count; i++)
            push_value(L, box, row, i);
        lua_call(L, (int)row->count, 1);
        return;
    }
    bj_kept(L, 1, "columns");
    lua_createtable(L, 0, (int)row->count); /* nil, columns, row */
    for (size_t i = 0; i < row->count; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        push_value(L, box, row, i);
        lua_rawset(L, -3);
    }
}

/* A reader that is broken says why again: the refused header, or memory that was short. */
static int fail_again(lua_State *L)
{
    bj_kept(L, 1, "error");
    if (lua_isnil(L, -1))
        return bj_fail(L, BJ_ERR_CSV, NULL, "a record was lost: not enough memory");
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* Takes the next record. Answers 0, or the results of a method that has none. */
static int take_record(lua_State *L, struct csv_reader *r, struct csv_row *row)
{
    switch (csv_reader_next(r, row)) {
    case CSV_MORE:
        lua_pushnil(L);
        return 1;
    case CSV_END:
        lua_pushboolean(L, 0);
        return 1;
    case CSV_FAILED:
        return bj_fail_csv(L, r);
    case CSV_ROW:
        break;
    }
    return 0;
}

/* The same until the header is there. Until a record has arrived in Lua the reader counts as broken: memory may run out
 * on the way, and the next record must not pass for this one. */
static int need_header(lua_State *L, struct csv_box *box)
{
    struct csv_row row;
    if (box->broken)
        return fail_again(L);
    int results = box->headed ? 0 : take_record(L, box->reader, &row);
    if (box->headed || results)
        return results;
    box->broken = 1;
    results = take_header(L, &row);
    if (results) {
        lua_pushvalue(L, -1);
        bj_keep(L, 1, "error");
        return results;
    }
    box->headed = 1;
    box->broken = 0;
    return 0;
}

/* reader:header() -> the names of the columns | nil (more text is needed) | false (there is none) | nil, err */
static int reader_header(lua_State *L)
{
    struct csv_box *box = check_reader(L, 1);
    lua_settop(L, 1);
    int results = need_header(L, box);
    if (results)
        return results;
    bj_kept(L, 1, "columns");
    return 1;
}

/* reader:types(types): "integer", "number", "boolean" or "text" for each column, in their order. From then on an empty
 * value is nil, and one that does not fit its type stays text. */
static int reader_types(lua_State *L)
{
    struct csv_box *box = check_reader(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    bj_kept(L, 1, "columns");
    luaL_checktype(L, 3, LUA_TTABLE);
    int count = (int)lua_rawlen(L, 3);
    char *types = malloc((size_t)count);
    free(box->types);
    box->types = types;
    if (!types)
        bj_no_memory(L);
    memset(types, 't', (size_t)count);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 2, i + 1);
        types[i] = luaL_checkstring(L, -1)[0];
        lua_pop(L, 1);
    }
    return 0;
}

/* reader:next() -> { name = value, … } | nil (more text is needed) | false (the end) | nil, err */
static int reader_next(lua_State *L)
{
    struct csv_box *box = check_reader(L, 1);
    struct csv_row row;
    lua_settop(L, 1);
    int results = need_header(L, box);
    if (!results)
        results = take_record(L, box->reader, &row);
    if (results)
        return results;
    box->broken = 1;
    push_row(L, box, &row);
    box->broken = 0;
    return 1;
}

static int reader_close(lua_State *L)
{
    struct csv_box *box = bj_check_object(L, 1, READER_CLASS);
    struct csv_reader *r = box->reader;
    box->reader = NULL;
    csv_reader_free(r);
    free(box->types);
    box->types = NULL;
    return 0;
}

/* ---- writer ---- */

struct csv_writer {
    struct buf out;
    size_t whole; /* bytes of complete records; what is behind them was left by a record that failed */
    struct csv_format format;
    int open;
    int columns;
    long long rows;
    unsigned long long uses; /* changes when something was done with it */
};

static struct csv_writer *check_writer(lua_State *L, int i)
{
    struct csv_writer *w = bj_check_object(L, i, WRITER_CLASS);
    if (!w->open)
        bj_misuse(L, "bulkjob.csv: this writer is closed");
    return w;
}

/* The writer at `i`, about to change. Removes what a record that failed has left. */
static struct csv_writer *use_writer(lua_State *L, int i)
{
    struct csv_writer *w = check_writer(L, i);
    w->uses++;
    w->out.len = w->whole;
    if (w->out.data)
        w->out.data[w->whole] = '\0';
    return w;
}

static void need(lua_State *L, bool ok)
{
    if (!ok)
        bj_no_memory(L);
}

/* core.csv_writer { columns =, delimiter =, line_ending = } -> writer: "COMMA" and "LF" by default */
static int new_writer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct csv_writer *w = bj_new_object(L, WRITER_CLASS, sizeof *w);
    buf_init(&w->out, WRITER_MAX);
    w->open = 1;
    lua_getfield(L, 1, "delimiter");
    w->format.delimiter = bj_check_delimiter(L);
    if (!w->format.delimiter)
        w->format.delimiter = ',';
    lua_getfield(L, 1, "line_ending");
    const char *ending = luaL_optstring(L, -1, "LF");
    w->format.crlf = strcmp(ending, "CRLF") == 0;
    if (!w->format.crlf && strcmp(ending, "LF") != 0)
        return luaL_error(L, "bulkjob.csv: line_ending: LF or CRLF expected, got '%s'", ending);
    lua_getfield(L, 1, "columns");
    luaL_checktype(L, -1, LUA_TTABLE);
    w->columns = (int)lua_rawlen(L, -1);
    /* A copy, in which the names are keys too: columns[3] = "Name", columns.Name = true. */
    lua_createtable(L, w->columns, w->columns);
    for (int i = 1; i <= w->columns; i++) {
        lua_rawgeti(L, -2, i);
        if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) == 0)
            return luaL_error(L, "bulkjob.csv: columns[%d]: a name expected, got %s", i,
                              lua_type(L, -1) == LUA_TSTRING ? "an empty one" : luaL_typename(L, -1));
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (!lua_isnil(L, -1))
            return luaL_error(L, "bulkjob.csv: columns[%d]: '%s' is there already", i, lua_tostring(L, -2));
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushboolean(L, 1);
        lua_rawset(L, -4);
        lua_rawseti(L, -2, i);
    }
    keep_function(L, 2, w->columns, false);
    bj_keep(L, 2, "columns");
    lua_settop(L, 2);
    return 1;
}

/* writer:header(): appends the names of the columns */
static int writer_header(lua_State *L)
{
    struct csv_writer *w = use_writer(L, 1);
    bj_kept(L, 1, "columns");
    for (int i = 1; i <= w->columns; i++) {
        size_t len;
        lua_rawgeti(L, -1, i);
        const char *name = lua_tolstring(L, -1, &len);
        need(L, csv_write_field(&w->out, &w->format, i == 1, name, len));
        lua_pop(L, 1);
    }
    need(L, csv_write_end(&w->out, &w->format, false));
    w->whole = w->out.len;
    return 0;
}

/* The text of the value at `i`, which stays there or in `number`; NULL when there is none. */
static const char *value_text(lua_State *L, int i, char number[CSV_NUMBER_MAX], size_t *len)
{
    switch (lua_type(L, i)) {
    case LUA_TNIL:
        *len = 0;
        return "";
    case LUA_TSTRING:
        return lua_tolstring(L, i, len);
    case LUA_TBOOLEAN:
        *len = lua_toboolean(L, i) ? 4 : 5;
        return lua_toboolean(L, i) ? "true" : "false";
    case LUA_TNUMBER:
        if (bj_isinteger(L, i))
            *len = (size_t)snprintf(number, CSV_NUMBER_MAX, "%lld", (long long)lua_tointeger(L, i));
        else if (isfinite(lua_tonumber(L, i)))
            *len = csv_format_number(number, lua_tonumber(L, i));
        else
            return NULL;
        return number;
    case LUA_TLIGHTUSERDATA:
        *len = 4;
        return bj_is_null(L, i) ? "#N/A" : NULL;
    default:
        return NULL;
    }
}

/* Where the methods that write rows have what they need; the writer is at 1. */
enum { AT_ROWS = 2, AT_COLUMNS, AT_RUN, AT_ROW };

/* Looks for a key of the row that is no column. Answers 0, or the results of a failure. */
static int check_keys(lua_State *L, const struct csv_writer *w)
{
    lua_pushnil(L);
    while (lua_next(L, AT_ROW)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        if (lua_type(L, -1) == LUA_TSTRING)
            lua_rawget(L, AT_COLUMNS);
        else
            lua_pushnil(L);
        int known = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (!known)
            return bj_fail(L, BJ_ERR_CSV, NULL, "row %d has a field '%s', which is none of the columns",
                           (int)w->rows + 1,
                           lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
    }
    return 0;
}

/* Pushes the values of the row, in the order of the columns. A row may compute them. */
static void push_values(lua_State *L, const struct csv_writer *w)
{
    unsigned long long uses = w->uses;
    if (!lua_isnil(L, AT_RUN)) {
        lua_pushvalue(L, AT_RUN);
        lua_pushvalue(L, AT_ROW);
        lua_call(L, 1, w->columns);
    } else {
        for (int i = 1; i <= w->columns; i++) {
            lua_rawgeti(L, AT_COLUMNS, i);
            lua_gettable(L, AT_ROW);
        }
    }
    if (w->uses != uses)
        bj_misuse(L, "bulkjob.csv: the writer was used by a field of the row that it writes");
}

/* The value at `at`, of column `i`, cannot be written. */
static int refuse_value(lua_State *L, const struct csv_writer *w, int i, int at)
{
    lua_rawgeti(L, AT_COLUMNS, i);
    if (lua_istable(L, at)) {
        const char *column = lua_tostring(L, -1);
        lua_pushnil(L);
        if (lua_next(L, at) && lua_type(L, -2) == LUA_TSTRING)
            return bj_fail(L, BJ_ERR_CSV, NULL,
                           "row %d, column '%s': a table cannot be written; a field of the parent is a column of its "
                           "own, '%s.%s'",
                           (int)w->rows + 1, column, column, lua_tostring(L, -2));
        return bj_fail(L, BJ_ERR_CSV, NULL, "row %d, column '%s': a table cannot be written", (int)w->rows + 1, column);
    }
    return bj_fail(L, BJ_ERR_CSV, NULL, "row %d, column '%s': %s cannot be written", (int)w->rows + 1,
                   lua_tostring(L, -1),
                   lua_type(L, at) == LUA_TNUMBER ? "infinity or not-a-number" : luaL_typename(L, at));
}

/* Pushes what rows are written with, from AT_COLUMNS on. */
static void begin_rows(lua_State *L, const struct csv_writer *w)
{
    luaL_checkstack(L, w->columns + LUA_MINSTACK, "too many columns");
    bj_kept(L, 1, "columns");
    push_function(L, 1);
    lua_remove(L, -2);
}

/* Appends the row, or nothing at all. Answers 0, or the results of a failure. Leaves values on the stack. */
static int append_row(lua_State *L, struct csv_writer *w)
{
    int first = lua_gettop(L);
    if (!lua_istable(L, AT_ROW))
        return bj_fail(L, BJ_ERR_CSV, NULL, "row %d: a table expected, got %s", (int)w->rows + 1,
                       luaL_typename(L, AT_ROW));
    push_values(L, w);
    for (int i = 1; i <= w->columns; i++) {
        char number[CSV_NUMBER_MAX];
        size_t len = 0;
        const char *text = value_text(L, first + i, number, &len);
        if (!text)
            return refuse_value(L, w, i, first + i);
        need(L, csv_write_field(&w->out, &w->format, i == 1, text, len));
    }
    bool empty = w->out.len - w->whole < (size_t)w->columns; /* there is nothing but the delimiters */
    if (empty) {
        lua_rawgeti(L, AT_ROW, 1);
        if (!lua_isnil(L, -1))
            return bj_fail(L, BJ_ERR_CSV, NULL, "row %d: fields by their names expected, got values by their positions",
                           (int)w->rows + 1);
    }
    need(L, csv_write_end(&w->out, &w->format, empty && w->columns == 1));
    w->whole = w->out.len;
    w->rows++;
    return 0;
}

/* writer:row(row [, strict]) -> bytes that wait to be taken | nil, err: appends a record, or nothing at all. `strict`:
 * a field that is no column is an error. */
static int writer_row(lua_State *L)
{
    struct csv_writer *w = use_writer(L, 1);
    int strict = lua_toboolean(L, 3);
    lua_settop(L, 2);
    begin_rows(L, w);
    lua_pushvalue(L, 2);
    int failed = strict && lua_istable(L, AT_ROW) ? check_keys(L, w) : 0;
    if (!failed)
        failed = append_row(L, w);
    if (failed)
        return failed;
    lua_pushnumber(L, (lua_Number)w->whole);
    return 1;
}

/* writer:rows(rows, first, count, bytes) -> bytes that wait to be taken, the number of the next row or nil at the end |
 * nil, err: appends so many rows of the array, fewer when so many bytes wait. */
static int writer_rows(lua_State *L)
{
    struct csv_writer *w = use_writer(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer next = luaL_checkinteger(L, 3);
    lua_Integer end = next + luaL_checkinteger(L, 4);
    lua_Number bytes = luaL_checknumber(L, 5);
    lua_settop(L, AT_ROWS);
    begin_rows(L, w);
    bool more = true;
    while (next < end && (lua_Number)w->whole < bytes) {
        lua_pushinteger(L, next);
        lua_gettable(L, AT_ROWS);
        more = !lua_isnil(L, -1);
        if (!more)
            break;
        int failed = append_row(L, w);
        if (failed)
            return failed;
        lua_settop(L, AT_RUN);
        next++;
    }
    lua_pushnumber(L, (lua_Number)w->whole);
    if (!more)
        return 1;
    lua_pushinteger(L, next);
    return 2;
}

/* writer:size() -> bytes that wait to be taken */
static int writer_size(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)check_writer(L, 1)->whole);
    return 1;
}

/* writer:take() -> the text so far, which leaves the writer */
static int writer_take(lua_State *L)
{
    struct csv_writer *w = use_writer(L, 1);
    lua_pushlstring(L, buf_string(&w->out), w->whole);
    w->whole = 0;
    buf_clear(&w->out);
    return 1;
}

static int writer_close(lua_State *L)
{
    struct csv_writer *w = bj_check_object(L, 1, WRITER_CLASS);
    w->open = 0;
    w->uses++;
    w->whole = 0;
    buf_free(&w->out);
    return 0;
}

struct name {
    const char *data; /* of a string that Lua keeps */
    size_t len;
};

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a;
    const struct name *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Sorts the `count` names in the array at 2 by bytes. table.sort would ask the locale, and the host may have replaced
 * it. The names are keys of the table at 1 too, which keeps them while they move. */
static void sort_names(lua_State *L, int count)
{
    struct name *names = lua_newuserdata(L, sizeof *names * (size_t)(count ? count : 1));
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 2, i + 1);
        names[i].data = lua_tolstring(L, -1, &names[i].len);
        lua_pop(L, 1);
    }
    qsort(names, (size_t)count, sizeof *names, compare_names);
    for (int i = 0; i < count; i++) {
        lua_pushlstring(L, names[i].data, names[i].len);
        lua_rawseti(L, 2, i + 1);
    }
    lua_pop(L, 1);
}

/* Is the value at `i` a number that an array can have as a key? *n: that. */
static bool is_index(lua_State *L, int i, lua_Number *n)
{
    if (bj_isinteger(L, i)) {
        *n = (lua_Number)lua_tointeger(L, i);
        return *n >= 1;
    }
    if (lua_type(L, i) != LUA_TNUMBER)
        return false;
    *n = lua_tonumber(L, i);
    return *n >= 1 && *n - floor(*n) == 0; /* not infinity */
}

/* core.csv_indexes(rows, key, count, last, most) -> the first key that is no index of an array, or the last of so many
 * that are, or nil at the end; so many indexes, and the largest of them: looks at what is in the table behind `key`,
 * and adds it to `count` and `last`. In pieces, because a frame of a game has no time for a large array. */
static int walk_indexes(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Number count = luaL_checknumber(L, 3);
    lua_Number last = luaL_checknumber(L, 4);
    lua_Number end = count + luaL_checknumber(L, 5);
    lua_Number index;
    bool more;
    lua_settop(L, 2);
    while ((more = lua_next(L, 1))) {
        lua_pop(L, 1);
        if (!is_index(L, 2, &index))
            break;
        last = index > last ? index : last;
        if (++count == end)
            break;
    }
    if (!more)
        lua_pushnil(L);
    bj_pushinteger(L, (long long)count);
    lua_pushnumber(L, last);
    return 3;
}

/* core.csv_names(names, rows, first, count) -> first + count | nil (there are no more rows) | nil, err: makes the
 * fields of so many rows keys of `names`. In pieces, because a frame of a game has no time for a large array. */
static int add_names(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    int i = (int)luaL_checkinteger(L, 3);
    int end = i + (int)luaL_checkinteger(L, 4);
    int count = (int)lua_rawlen(L, 2);
    lua_settop(L, 2);
    for (; i < end && i <= count; i++) {
        lua_rawgeti(L, 2, i);
        if (!lua_istable(L, -1))
            return bj_fail(L, BJ_ERR_CSV, NULL, "row %d: a table expected, got %s", i, luaL_typename(L, -1));
        lua_pushnil(L);
        while (lua_next(L, 3)) { /* names, rows, row, key, value */
            if (lua_type(L, -2) != LUA_TSTRING || lua_rawlen(L, -2) == 0)
                return bj_fail(L, BJ_ERR_CSV, NULL, "row %d: a field name expected, got %s", i,
                               lua_type(L, -2) == LUA_TSTRING ? "an empty one" : luaL_typename(L, -2));
            lua_pop(L, 1);
            lua_pushvalue(L, -1);
            lua_pushboolean(L, 1);
            lua_rawset(L, 1);
        }
        lua_settop(L, 2);
    }
    if (i > count)
        return 0;
    lua_pushinteger(L, end);
    return 1;
}

/* core.csv_sorted(names) -> its keys, sorted by bytes */
static int sorted_names(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_newtable(L); /* names, columns */
    int count = 0;
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, ++count);
    }
    sort_names(L, count);
    return 1;
}

void bj_open_csv(lua_State *L)
{
    static const luaL_Reg reader_methods[] = {
        {"feed", reader_feed},   {"read", reader_read}, {"finish", reader_finish}, {"header", reader_header},
        {"types", reader_types}, {"next", reader_next}, {"close", reader_close},   {NULL, NULL},
    };
    static const luaL_Reg reader_meta[] = {
        {"__gc", reader_close},
        {"__close", reader_close},
        {NULL, NULL},
    };
    static const luaL_Reg writer_methods[] = {
        {"header", writer_header}, {"row", writer_row},     {"rows", writer_rows}, {"size", writer_size},
        {"take", writer_take},     {"close", writer_close}, {NULL, NULL},
    };
    static const luaL_Reg writer_meta[] = {
        {"__gc", writer_close},
        {"__close", writer_close},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"csv_reader", new_reader}, {"csv_writer", new_writer},   {"csv_indexes", walk_indexes},
        {"csv_names", add_names},   {"csv_sorted", sorted_names}, {NULL, NULL},
    };
    bj_new_class(L, READER_CLASS, reader_methods, reader_meta);
    bj_new_class(L, WRITER_CLASS, writer_methods, writer_meta);
    bj_setfuncs(L, functions);
}
