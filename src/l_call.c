/* One verb on its way: requests, answers, pauses, until there is a result. The Lua half calls step() and waits. */
#include "l_call.h"

#include "clock.h"
#include "csv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALL_CLASS "bulkjob.call"

enum { TAKE_BYTES = 64 * 1024, REASON_BYTES = 4096 };

static struct call *check_call(lua_State *L, int i)
{
    return luaL_checkudata(L, i, CALL_CLASS);
}

struct call *bj_push_call(lua_State *L, enum verb verb, int client, int job, const char *method, enum expect expect)
{
    client = lua_absindex(L, client);
    const struct client *cl = bj_check_client(L, client);
    struct call *c = bj_new_object(L, CALL_CLASS, sizeof *c); /* path, call */
    c->fd = c->sink_fd = -1;
    c->method = method;
    c->expect = expect;
    verb_begin(&c->run, verb, &cl->retry, clock_now());
    unsigned long long seed = (unsigned long long)(c->run.started * 1e9) ^ (unsigned long long)(size_t)c;
    memcpy(c->dice, &seed, sizeof c->dice);
    lua_insert(L, -2);
    bj_keep(L, -2, "path");
    lua_pushvalue(L, client);
    bj_keep(L, -2, "client");
    if (job) {
        lua_pushvalue(L, job);
        bj_keep(L, -2, "job");
    }
    bj_kept(L, client, "calls");
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return c;
}

void bj_call_body(lua_State *L, int i, const char *type)
{
    struct call *c = check_call(L, i);
    c->body = BODY_TEXT;
    c->body_type = type;
    bj_keep(L, i, "body");
}

void bj_call_tries(lua_State *L, int i, int tries)
{
    struct call *c = check_call(L, i);
    if (c->run.policy.tries > tries)
        c->run.policy.tries = tries;
}

void bj_call_file(struct call *c, const char *type, int fd, off_t first, off_t size)
{
    c->body = BODY_FILE;
    c->body_type = type;
    c->fd = fd;
    c->first = first;
    c->size = size;
}

void bj_call_queue(struct call *c, const char *type, int repeatable)
{
    c->body = BODY_QUEUE;
    c->body_type = type;
    c->repeatable = repeatable;
}

void bj_call_count(struct call *c)
{
    c->counted = true;
}

void bj_call_sink(struct call *c, int fd, int skip_line)
{
    c->sink_fd = fd;
    c->sink_base = lseek(fd, 0, SEEK_CUR);
    c->skip_line = skip_line;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void bj_finish_call(struct call *c)
{
    c->phase = PHASE_DONE;
    transfer_unref(c->transfer);
    c->transfer = NULL;
    if (c->engine)
        engine_unref(c->engine);
    c->engine = NULL;
    close_fd(&c->fd);
    close_fd(&c->sink_fd);
    inflow_free(&c->in);
    free(c->piece);
    c->piece = NULL;
}

/* The thread of an engine does not come along into a forked process. */
void bj_check_process(lua_State *L, const struct engine *e)
{
    if (engine_is_foreign(e))
        bj_raise(L, "bulkjob: this client was used before the process forked; make a new one in the new process");
}

/* ---- CSV to the host ---- */

/* Is there a CSV answer under way that the host can take bytes from? One that turns out to be something else is ended;
 * the failure is found when it is done. */
static bool may_take(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->expect != EXPECT_CSV || c->run.step != STEP_SEND || c->in.corrupt ||
        c->in.differs || c->foreign || !atomic_load_explicit(&c->transfer->begun, memory_order_acquire))
        return false;
    c->foreign = !bj_answer_is_csv(c->transfer);
    if (c->foreign)
        engine_cancel(c->engine, c->transfer);
    return !c->foreign;
}

/* Moves what has come to `out`; answers how many bytes that were. */
static size_t take_bytes(lua_State *L, struct call *c, char *out, size_t room)
{
    struct transfer *t = c->transfer;
    size_t got;
    bool wake;
    if (!may_take(c))
        return 0;
    bool ok = inflow_take(&c->in, &t->sink.queue, t->sink.gzip, out, room, &got, &wake);
    if (wake)
        engine_unpause(c->engine, t);
    if (!ok)
        luaL_error(L, "not enough memory");
    if (c->in.corrupt || c->in.differs)
        engine_cancel(c->engine, t);
    return got;
}

/* call:fill(reader) -> bytes moved from the answer into a core.csv_reader */
static int call_fill(lua_State *L)
{
    struct call *c = check_call(L, 1);
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

/* call:read() -> the next piece of the answer, "" when there is none now */
static int call_read(lua_State *L)
{
    struct call *c = check_call(L, 1);
    if (!c->piece && !(c->piece = malloc(TAKE_BYTES)))
        return luaL_error(L, "not enough memory");
    size_t n = take_bytes(L, c, c->piece, TAKE_BYTES);
    if (c->counted)
        csv_count_add(&c->count, c->piece, n);
    lua_pushlstring(L, c->piece, n);
    return 1;
}

/* ---- bytes from the host ---- */

static struct queue *open_queue(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->run.step != STEP_SEND || c->body != BODY_QUEUE || c->finished)
        return NULL;
    return &c->transfer->source.queue;
}

/* call:push(text [, first]) -> how many of the bytes from `first` on were taken; the rest has to be pushed again later
 */
static int call_push(lua_State *L)
{
    struct call *c = check_call(L, 1);
    size_t len;
    bool wake;
    const char *text = luaL_checklstring(L, 2, &len);
    size_t first = (size_t)luaL_optnumber(L, 3, 1) - 1;
    struct queue *q = open_queue(c);
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

/* call:finish(): all was pushed */
static int call_finish(lua_State *L)
{
    struct call *c = check_call(L, 1);
    struct queue *q = open_queue(c);
    if (q) {
        c->finished = true;
        if (queue_end(q))
            engine_unpause(c->engine, c->transfer);
    }
    return 0;
}

/* ---- results ---- */

/* Keeps the error on top as the one to return (`first`), or among what failed beside it; pops it. */
static void keep_error(lua_State *L, int ci, int first)
{
    if (first) {
        bj_keep(L, ci, "error");
        return;
    }
    bj_kept(L, ci, "also");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        bj_keep(L, ci, "also");
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

void bj_add_message(lua_State *L, const char *format, const char *value)
{
    lua_getfield(L, -1, "message");
    lua_pushfstring(L, format, value);
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
}

/* Completes the kept error with what is known only at the end. */
static void complete_error(lua_State *L, struct call *c, int ci)
{
    bj_kept(L, ci, "error");
    bj_pushinteger(L, c->run.sends);
    lua_setfield(L, -2, "attempts");
    if (c->stuck)
        bj_add_message(L, "; %s cannot be read again, so it was not retried", "a source that is a function");
    if (c->run.in_doubt) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "in_doubt");
    }
    bj_kept(L, ci, "also");
    lua_setfield(L, -2, "also");
    bj_name_strays(L, ci);
    lua_pop(L, 1);
}

/* The job ended up where this verb cannot have it: says so in the kept error. */
static void explain_state(lua_State *L, const struct call *c, int ci)
{
    bj_kept(L, ci, "job");
    const char *state = job_state_name(bj_check_job(L, -1)->state);
    const char *shown = state ? state : "in an unknown state";
    bj_kept(L, ci, "error"); /* job, error */
    if (c->run.wrong_state) {
        bj_add_message(L, ": the job is %s", shown);
    } else {
        static const char *const answer_fields[] = {"code", "status"};
        for (size_t i = 0; i < sizeof answer_fields / sizeof answer_fields[0]; i++) {
            lua_pushnil(L);
            lua_setfield(L, -2, answer_fields[i]);
        }
        lua_pushliteral(L, BJ_ERR_JOB);
        lua_setfield(L, -2, "kind");
        lua_pushfstring(L, "the job could not be %s: it is %s", c->run.verb == VERB_CLOSE ? "closed" : "aborted",
                        shown);
        lua_setfield(L, -2, "message");
    }
    lua_pushstring(L, state);
    lua_setfield(L, -2, "state");
    bj_kept(L, -2, "info");
    lua_getfield(L, -1, "errorMessage");
    lua_replace(L, -2); /* job, error, errorMessage */
    if (lua_type(L, -1) == LUA_TSTRING) {
        size_t len;
        const char *reason = lua_tolstring(L, -1, &len);
        lua_getfield(L, -2, "message");
        lua_pushliteral(L, ": ");
        bj_push_masked(L, ci, reason, len, REASON_BYTES);
        lua_concat(L, 3);
        lua_setfield(L, -3, "message");
    }
    lua_pop(L, 3);
}

/* Turns the good answer on top into the verb's result. */
static void keep_result(lua_State *L, struct call *c, int ci)
{
    if (c->expect == EXPECT_JOB && c->run.step != STEP_LIST && c->run.step != STEP_ABORT_STRAY) {
        int answer = lua_gettop(L);
        enum job_state before;
        bj_kept(L, ci, "job");
        if (lua_isnil(L, -1)) { /* a create */
            lua_pop(L, 1);
            bj_kept(L, ci, "client");
            lua_getfield(L, answer, "createdById");
            bj_keep(L, -2, "user_id");
            bj_kept(L, -1, "jobs");
            lua_getfield(L, answer, "id");
            lua_pushvalue(L, -1);
            struct job *j = bj_push_job(L, answer + 1, c->run.verb == VERB_QUERY ? JOB_QUERY : JOB_INGEST);
            j->ours = 1;
            j->lost = c->lost_sends;
            lua_pushvalue(L, -1);
            bj_keep(L, ci, "job"); /* answer, client, jobs, id, job */
            lua_insert(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, -4); /* answer, client, jobs, job */
            lua_replace(L, answer + 1);
            lua_settop(L, answer + 1);
        }
        before = bj_check_job(L, -1)->state;
        bj_update_job(L, -1, answer);
        bj_report_state(L, ci, before, bj_check_job(L, answer + 1)->state);
        if (c->run.step == STEP_SEND && !strcmp(c->method, "POST"))
            lua_settop(L, answer + 1); /* the result of a create is its job */
        lua_replace(L, answer);
        lua_settop(L, answer);
    } else if (c->expect == EXPECT_NOTHING && c->run.verb == VERB_UPLOAD) {
        bj_kept(L, ci, "job");
        bj_check_job(L, -1)->uploaded = 1;
        lua_pop(L, 1);
    }
    bj_keep(L, ci, "result");
}

/* What is true of the answer beside its content. */
static void complete_answer(struct call *c, struct answer *a)
{
    a->whole_sent = c->transfer->source.whole_sent;
    a->can_repeat = c->body != BODY_QUEUE || c->repeatable || !c->pushed;
    c->stuck = !a->can_repeat &&
               (a->outcome == OUTCOME_LOST || a->outcome == OUTCOME_NOT_APPLIED || a->outcome == OUTCOME_DEAD_TOKEN);
    if (c->run.step == STEP_SEND && a->outcome == OUTCOME_LOST)
        c->lost_sends++;
}

/* Replaces the answer on top by an error when the download came whole for HTTP but is no good, or was ended by us for
 * that. */
static void check_inflow(lua_State *L, struct call *c, int ci, struct answer *a)
{
    struct inflow *in = &c->in;
    if (c->expect != EXPECT_CSV || c->run.step != STEP_SEND)
        return;
    if (a->outcome == OUTCOME_OK)
        inflow_end(in);
    if (!in->corrupt && !in->differs)
        return;
    a->outcome = in->differs ? OUTCOME_BROKEN : OUTCOME_LOST;
    bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "%s",
                  in->differs
                      ? "the download broke, and what came at the second try is not the same as what came at the first"
                      : "the gzip body of the answer is damaged or cut off");
    bj_describe_error(L, ci, c->transfer, &c->run);
    lua_replace(L, -2);
}

/* Replaces the answer on top by an error when a page of a query does not hold the rows that its header promises, or
 * ends inside one. What is read row by row is counted there. Such a page is asked for again, like one that broke. */
static void check_rows(lua_State *L, struct call *c, int ci, struct answer *a)
{
    const struct transfer *t = c->transfer;
    const struct csv_count *count = c->piece ? &c->count : c->expect == EXPECT_FILE ? &t->sink.count : NULL;
    size_t len;
    if (a->outcome != OUTCOME_OK || !c->counted || !count)
        return;
    bj_pushinteger(L, (long long)csv_count_rows(count));
    lua_setfield(L, -2, "rows");
    const char *expected = transfer_header(t, "Sforce-NumberOfRecords", &len);
    bool differs = expected && strtoull(expected, NULL, 10) != csv_count_rows(count);
    if (!differs && !csv_count_is_cut(count))
        return;
    a->outcome = OUTCOME_LOST;
    if (csv_count_is_cut(count)) {
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "a page of results ends in the middle of a row");
    } else {
        lua_pushlstring(L, expected, len);
        lua_getfield(L, -2, "rows");
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "a page of results holds %s rows, and Sforce-NumberOfRecords says %s",
                      lua_tostring(L, -1), lua_tostring(L, -2));
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
    bj_describe_error(L, ci, c->transfer, &c->run);
    lua_replace(L, -2);
}

/* Jitter, from a state of our own: the host's random numbers stay the host's. */
static double dice(struct call *c)
{
    return erand48(c->dice);
}

static void follow(lua_State *L, struct call *c, int ci, enum plan plan, int error)
{
    bool renewable;
    if (plan == PLAN_TIDY) {
        if (bj_sort_strays(L, c, ci) > 0) {
            c->run.step = STEP_ABORT_STRAY;
            c->phase = PHASE_SEND;
            c->resume_at = 0;
            return;
        }
        plan = c->run.failed ? PLAN_FAIL : PLAN_DONE;
    }
    switch (plan) {
    case PLAN_SEND:
        c->phase = PHASE_SEND;
        c->resume_at = clock_now() + c->run.pause;
        if (error)
            bj_report_retry(L, c, ci, error);
        return;
    case PLAN_TOKEN:
        bj_kept(L, ci, "client");
        renewable = bj_check_client(L, -1)->renewable;
        lua_pop(L, 1);
        if (renewable) {
            c->phase = PHASE_TOKEN;
            c->resume_at = 0;
            return;
        }
        break;
    case PLAN_DONE:
        if (error && c->expect == EXPECT_NOTHING) {
            /* A refusal that proves an earlier success: the data is there, the job is gone. */
            lua_pushboolean(L, 1);
            keep_result(L, c, ci);
        }
        lua_pushnil(L);
        bj_keep(L, ci, "error");
        bj_finish_call(c);
        return;
    case PLAN_FAIL_STATE:
        explain_state(L, c, ci);
        break;
    case PLAN_FAIL:
    case PLAN_TIDY:
        break;
    }
    complete_error(L, c, ci);
    bj_finish_call(c);
}

/* The transfer is done: reads its answer and decides what next. */
static void take_answer(lua_State *L, struct call *c, int ci)
{
    struct answer a;
    int top = lua_gettop(L);
    enum step step = c->run.step;
    enum expect expect = step == STEP_SEND        ? c->expect
                         : step == STEP_READ_BACK ? EXPECT_JOB
                         : step == STEP_LIST      ? EXPECT_OBJECT
                                                  : EXPECT_JOB;
    bj_unpin_done(L);
    bj_push_answer(L, ci, c->transfer, &c->run, expect, &a); /* result or error */
    if (c->bare && a.outcome == OUTCOME_DEAD_TOKEN)
        a.outcome = OUTCOME_REFUSED;
    check_inflow(L, c, ci, &a);
    check_rows(L, c, ci, &a);
    complete_answer(c, &a);
    int error = a.outcome == OUTCOME_OK ? 0 : top + 1;
    bj_report_request(L, c, ci, error);
    if (step == STEP_LIST && !error && bj_gather_strays(L, c, ci)) {
        c->phase = PHASE_SEND;
        c->resume_at = 0;
        lua_settop(L, top);
        return;
    }
    if (step == STEP_ABORT_STRAY)
        bj_drop_stray(L, ci, error);
    lua_pushvalue(L, top + 1);
    if (error)
        keep_error(L, ci, step == STEP_SEND);
    else if (step == STEP_SEND || step == STEP_READ_BACK)
        keep_result(L, c, ci);
    else
        lua_pop(L, 1);
    follow(L, c, ci, verb_next(&c->run, &a, clock_now(), dice(c)), error);
    lua_settop(L, top);
}

/* ---- methods ---- */

/* Does the host have something to do for a running transfer? NULL: it can only wait. */
static const char *host_work(struct call *c)
{
    struct transfer *t = c->transfer;
    if (c->restart) {
        c->restart = false;
        return "restart";
    }
    struct queue *q = open_queue(c);
    if (q && !atomic_load(&t->done) && !queue_writer_waits(q))
        return "data";
    if (may_take(c)) {
        /* A body that came whole is read to its end before the answer counts; one that broke begins again. */
        if (atomic_load_explicit(&t->done, memory_order_acquire))
            return t->code == CURLE_OK && t->stop == STOP_NONE &&
                           !(queue_is_drained(&t->sink.queue) && inflow_is_empty(&c->in))
                       ? "data"
                       : NULL;
        if (!queue_reader_waits(&t->sink.queue))
            return "data";
    }
    return NULL;
}

/* Is there a token that this call was not refused with, and an org to take it to? */
static bool has_token(lua_State *L, const struct call *c)
{
    bj_kept(L, 1, "client");
    const struct client *cl = bj_check_client(L, -1);
    lua_pop(L, 1);
    return cl->token && cl->base && (c->phase != PHASE_TOKEN || cl->tokens != c->tokens);
}

/* call:step() -> "done" | "wait" | "token" | "data" | "restart": takes the call as far as it goes without waiting.
 * "token": core.set_token, then step again. "data": push, fill or read; "restart": push from the start. */
static int call_step(lua_State *L)
{
    struct call *c = check_call(L, 1);
    lua_settop(L, 1);
    for (;;) {
        const char *work;
        bool renewed;
        switch (c->phase) {
        case PHASE_DONE:
            lua_pushliteral(L, "done");
            return 1;
        case PHASE_TOKEN:
            /* The next step means that the host has been for one, or that another call has. */
            renewed = has_token(L, c);
            c->phase = PHASE_SEND;
            if (renewed)
                break;
            lua_pushliteral(L, "token");
            return 1;
        case PHASE_SEND:
            if (clock_now() < c->resume_at) {
                lua_pushliteral(L, "wait");
                return 1;
            }
            if (!c->bare && !has_token(L, c)) {
                lua_pushliteral(L, "token");
                return 1;
            }
            bj_start_request(L, c, 1);
            break;
        case PHASE_RUNNING:
            bj_check_process(L, c->engine);
            work = host_work(c);
            if (!work && atomic_load_explicit(&c->transfer->done, memory_order_acquire)) {
                take_answer(L, c, 1);
                break;
            }
            lua_pushstring(L, work ? work : "wait");
            return 1;
        }
    }
}

/* call:timeout() -> seconds until step() is worth calling even without news; nil: no such moment */
static int call_timeout(lua_State *L)
{
    const struct call *c = check_call(L, 1);
    if (c->phase != PHASE_SEND)
        return 0;
    double left = c->resume_at - clock_now();
    lua_pushnumber(L, left > 0 ? left : 0);
    return 1;
}

/* call:result() -> the verb's result | nil, err */
static int call_result(lua_State *L)
{
    const struct call *c = check_call(L, 1);
    if (c->phase != PHASE_DONE)
        return luaL_error(L, "bulkjob: the call is not done");
    bj_kept(L, 1, "error");
    if (lua_isnil(L, -1)) {
        bj_kept(L, 1, "result");
        return 1;
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* call:cancel([err]): ends the transfer, if there is one; the result is `err`, or an error of the kind "cancelled" */
static int call_cancel(lua_State *L)
{
    struct call *c = check_call(L, 1);
    lua_settop(L, 2);
    if (c->phase == PHASE_DONE)
        return 0;
    bool in_doubt = verb_in_doubt(&c->run, c->phase == PHASE_RUNNING);
    if (c->transfer)
        engine_cancel(c->engine, c->transfer);
    bj_finish_call(c);
    if (lua_isnil(L, 2)) {
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the call was cancelled");
        lua_replace(L, 2);
        bj_name_job(L, 1);
    }
    if (in_doubt) {
        lua_pushboolean(L, 1);
        lua_setfield(L, 2, "in_doubt");
    }
    bj_keep(L, 1, "error");
    return 0;
}

/* call:watch(channel, tag): the news of the call go there, under this tag */
static int call_watch(lua_State *L)
{
    struct call *c = check_call(L, 1);
    struct channel *channel = bj_check_channel(L, 2);
    double tag = luaL_checknumber(L, 3);
    if (c->phase == PHASE_RUNNING)
        engine_watch(c->transfer, channel, tag);
    return 0;
}

/* call:events() -> the events since the last time, or nil */
static int call_events(lua_State *L)
{
    check_call(L, 1);
    bj_kept(L, 1, "events");
    lua_pushnil(L);
    bj_keep(L, 1, "events");
    return 1;
}

/* call:was_sent() -> whether the service may have heard of it */
static int call_was_sent(lua_State *L)
{
    lua_pushboolean(L, check_call(L, 1)->sent);
    return 1;
}

/* call:progress() -> bytes of the body that have been read for sending, in the try that is under way */
static int call_progress(lua_State *L)
{
    const struct call *c = check_call(L, 1);
    lua_pushnumber(L, c->transfer ? (lua_Number)atomic_load(&c->transfer->source.sent) : 0);
    return 1;
}

/* call:job() -> the job it is about, or nil */
static int call_job(lua_State *L)
{
    check_call(L, 1);
    bj_kept(L, 1, "job");
    return 1;
}

static int call_gc(lua_State *L)
{
    struct call *c = check_call(L, 1);
    if (c->transfer)
        engine_cancel(c->engine, c->transfer);
    bj_finish_call(c);
    return 0;
}

void bj_open_call(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", call_step},         {"timeout", call_timeout},
        {"result", call_result},     {"cancel", call_cancel},
        {"events", call_events},     {"push", call_push},
        {"finish", call_finish},     {"fill", call_fill},
        {"read", call_read},         {"job", call_job},
        {"was_sent", call_was_sent}, {"watch", call_watch},
        {"progress", call_progress}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", call_gc},
        {NULL, NULL},
    };
    bj_new_class(L, CALL_CLASS, methods, meta);
}
