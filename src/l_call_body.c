#include "l_call_body.h"

#include "l_csv.h"

#include <stdlib.h>

enum { TAKE_BYTES = 64 * 1024 };

bool bj_may_take(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->request.expect != EXPECT_CSV || c->run.step != STEP_SEND ||
        c->download.corrupt || c->download.differs || c->no_csv ||
        !atomic_load_explicit(&c->transfer->begun, memory_order_acquire))
        return false;
    c->no_csv = !response_is_csv(c->transfer);
    if (c->no_csv)
        engine_cancel(c->engine, c->transfer);
    return !c->no_csv;
}

/* Moves what has come to `out`; answers how many bytes that were. */
static size_t take_bytes(lua_State *L, struct call *c, char *out, size_t room)
{
    struct transfer *t = c->transfer;
    size_t got;
    bool wake;
    if (!bj_may_take(c))
        return 0;
    bool ok = download_take(&c->download, &t->sink.queue, t->sink.gzip, out, room, &got, &wake);
    if (wake)
        engine_unpause(c->engine, t);
    if (!ok)
        bj_no_memory(L);
    if (c->download.corrupt || c->download.differs)
        engine_cancel(c->engine, t);
    return got;
}

/* call:fill(reader) -> bytes moved from the response into a core.csv_reader */
int bj_call_fill(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    struct csv_reader *r = bj_check_csv_reader(L, 2);
    char *room = csv_reader_space(r, TAKE_BYTES);
    size_t n = 0;
    if (!room) {
        bj_fail_csv(L, r);
        bj_name_job(L, 1);
        return 2;
    }
    n = take_bytes(L, c, room, TAKE_BYTES);
    csv_reader_filled(r, n);
    lua_pushnumber(L, (lua_Number)n);
    return 1;
}

/* call:read() -> the next piece of the response, "" when there is none now */
int bj_call_read(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    if (!c->piece && c->phase != PHASE_DONE && !(c->piece = malloc(TAKE_BYTES)))
        bj_no_memory(L);
    if (c->piece_len == 0) {
        c->piece_len = take_bytes(L, c, c->piece, TAKE_BYTES);
        if (c->counted)
            csv_count_add(&c->count, c->piece, c->piece_len);
    }
    lua_pushlstring(L, c->piece ? c->piece : "", c->piece_len); /* without memory, the next call gives it */
    c->piece_len = 0;
    return 1;
}

struct queue *bj_open_queue(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->run.step != STEP_SEND || c->request.body != BODY_QUEUE || c->finished)
        return NULL;
    return &c->transfer->source.queue;
}

/* call:push(text [, first]) -> how many of the bytes from `first` on were taken; the rest has to be pushed again later
 */
int bj_call_push(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    size_t len;
    bool wake;
    const char *text = luaL_checklstring(L, 2, &len);
    size_t first = (size_t)luaL_optnumber(L, 3, 1) - 1;
    struct queue *q = bj_open_queue(c);
    luaL_argcheck(L, first <= len, 3, "behind the text");
    size_t n = q ? queue_put(q, text + first, len - first, false, &wake) : 0;
    if (n) {
        c->pushed = true;
        if (wake)
            engine_unpause(c->engine, c->transfer);
    }
    lua_pushnumber(L, (lua_Number)n);
    return 1;
}

/* call:set_once(): what was pushed from the start cannot be pushed again */
int bj_call_set_once(lua_State *L)
{
    bj_check_call(L, 1)->once = true;
    return 0;
}

/* call:finish(): all was pushed */
int bj_call_finish(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    struct queue *q = bj_open_queue(c);
    if (q) {
        c->finished = true;
        if (queue_end(q))
            engine_unpause(c->engine, c->transfer);
    }
    return 0;
}
