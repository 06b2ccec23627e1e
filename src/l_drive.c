/* Takes calls to their end: transfer, reply, verdict, what next. The Lua half calls step() and waits. */
#include "clock.h"
#include "l_answer.h"
#include "l_call_body.h"
#include "l_call_result.h"
#include "l_channel.h"
#include "l_error.h"
#include "l_event.h"
#include "l_job.h"
#include "l_open.h"

#include <stdlib.h>
#include <string.h>

/* ---- the facts of a response ---- */

/* A download that came whole for HTTP may be no good, or may have been ended by us for that. */
static void check_download(struct call *c, struct reply *r)
{
    const struct transfer *t = c->transfer;
    if (c->request.expect != EXPECT_CSV || c->run.step != STEP_SEND)
        return;
    if (t->code == CURLE_OK && t->stop == STOP_NONE && t->status / 100 == 2 && response_is_csv(t))
        download_end(&c->download);
    r->download_corrupt = c->download.corrupt;
    r->download_differs = c->download.differs;
}

static const struct csv_count *rows_of(const struct call *c)
{
    return c->piece ? &c->count : c->request.expect == EXPECT_FILE ? &c->transfer->sink.count : NULL;
}

/* Counts the rows of a page of results, and compares one of a query with what its headers say. What is read row by row
 * is counted there. */
static void check_page(const struct call *c, struct reply *r)
{
    const struct transfer *t = c->transfer;
    const struct csv_count *count = rows_of(c);
    const struct buf *line = &t->sink.memory;
    size_t len;
    if (!c->counted || c->run.step != STEP_SEND)
        return;
    r->counted = count != NULL;
    r->rows = count ? csv_count_rows(count) : 0;
    r->rows_cut = count && (c->of_query ? csv_count_is_cut(count) : csv_count_ends_in_row(count));
    r->bad_quote = count && count->bad_quote != 0;
    if (!c->of_query)
        return;
    const char *expected = transfer_header(t, "Sforce-NumberOfRecords", &len);
    r->no_locator = !transfer_header(t, "Sforce-Locator", &len);
    if (!count) {
        r->rows_differ = expected && c->download.passed == 0 && strtoull(expected, NULL, 10) != 0;
        return;
    }
    r->other_columns = c->request.header && (line->len != c->request.header_len ||
                                             memcmp(buf_string(line), c->request.header, line->len) != 0);
    r->rows_differ = expected && strtoull(expected, NULL, 10) != r->rows;
}

/* What the request was, beside its response. */
static void complete_answer(struct call *c, struct answer *a)
{
    a->can_repeat = c->request.body != BODY_QUEUE || !c->once || !c->pushed;
    c->stuck = !a->can_repeat && (a->outcome == OUTCOME_RETRY || a->outcome == OUTCOME_DEAD_TOKEN);
    if (c->run.step == STEP_SEND && a->lost) {
        if (c->run.lost_sends == 0)
            c->lost_from = c->sent_at;
        c->lost_until = clock_now();
    }
}

/* What the handle has to remember of the requests that were sent for its job. */
static void note_request(lua_State *L, struct call *c, int ci, struct answer *a)
{
    bj_kept(L, ci, "job");
    if (!lua_isnil(L, -1) && c->run.step == STEP_SEND) {
        struct job *j = bj_check_job(L, -1);
        const struct source *s = &c->transfer->source;
        bool may_be_there = a->lost || a->outcome == OUTCOME_OK;
        if (c->run.verb == VERB_CLOSE && !may_be_there)
            bj_closer(L, -1)->closes--;
        if (c->run.verb == VERB_ABORT && !a->sent)
            j->aborts--;
        if (c->run.verb == VERB_UPLOAD && s->whole_sent && may_be_there) {
            c->bodies++;
            bodies_add(&j->bodies, s->digest);
        }
        /* This one is often refused before it went out whole; then only an earlier one of this very call is known. */
        a->contents_ours = a->has_contents && j->ours &&
                           bodies_are(&j->bodies, s->whole_sent ? s->digest : j->bodies.digest) &&
                           (s->whole_sent || c->bodies > 0);
    }
    lua_pop(L, 1);
}

static void note_service_time(lua_State *L, const struct call *c, int ci)
{
    size_t len;
    const char *text = transfer_header(c->transfer, "Date", &len);
    if (!text || c->request.login)
        return;
    bj_kept(L, ci, "client");
    struct client *cl = bj_check_client(L, -1);
    lua_pop(L, 1);
    /* Within a second all responses have the same text, and to read it is slow. */
    if (len >= sizeof cl->date || (memcmp(cl->date, text, len) == 0 && cl->date[len] == '\0'))
        return;
    double date = response_date(c->transfer);
    if (date < 0)
        return;
    memcpy(cl->date, text, len);
    cl->date[len] = '\0';
    cl->service_time = date - clock_now();
}

/* ---- the driver ---- */

/* Ends the call with the error on top, before the request goes out. */
static void refuse(lua_State *L, struct call *c, int ci)
{
    bj_name_job(L, ci);
    bj_keep(L, ci, "error");
    bj_complete_error(L, c, ci);
    bj_finish_call(L, c, ci);
}

/* A close or abort of the job at `job` is about to be sent: pushes an error if it must not be, and answers whether. A
 * job that may have been closed is not aborted unless the user says so, and one that may have been aborted is not
 * closed. An earlier close that may still have its effect leaves this one in doubt, too. */
static bool check_patch(lua_State *L, struct call *c, int job)
{
    const struct job *j = bj_check_job(L, job);
    int closes = bj_find_closer(L, job)->closes;
    bool closing = c->run.verb == VERB_CLOSE;
    if (closing && closes > 0 && (j->state == STATE_OPEN || j->state == STATE_UNKNOWN))
        c->run.in_doubt = true;
    if (closing ? j->aborts == 0 : closes == 0 || !c->cleanup)
        return true;
    bj_push_error(L, BJ_ERR_JOB, NULL,
                  closing ? "an abort of this job was sent before, so this handle does not close it"
                          : "a close of this job was sent meanwhile, so it is not rolled back");
    lua_pushstring(L, job_state_name(j->state));
    lua_setfield(L, -2, "state");
    return false;
}

/* Sends the request of the step at hand, or ends the call with an error. */
static void start_request(lua_State *L, struct call *c, int ci)
{
    int top = lua_gettop(L);
    bj_kept(L, ci, "client");
    struct client *cl = bj_check_client(L, -1);
    bj_kept(L, ci, "job");
    int job = lua_gettop(L);
    bool closing = c->run.step == STEP_SEND && c->run.verb == VERB_CLOSE;
    bool aborting = c->run.step == STEP_SEND && c->run.verb == VERB_ABORT;
    struct request rq = c->request;
    if (c->run.step == STEP_READ_BACK) {
        rq.method = "GET";
        rq.expect = EXPECT_JOB;
        rq.body = BODY_NONE;
    } else if ((closing || aborting) && !check_patch(L, c, job)) {
        refuse(L, c, ci);
        lua_settop(L, top);
        return;
    }
    if (!rq.login)
        bj_secret_put(&c->token, bj_secret_ref(cl->token));
    const char *problem = NULL;
    if (!cl->engine)
        cl->engine = bj_engine(L, cl->nice, &problem);
    if (!cl->engine) {
        bj_push_error(L, BJ_ERR_IO, NULL, "the engine could not be started: %s", problem);
        refuse(L, c, ci);
        lua_settop(L, top);
        return;
    }
    bj_check_process(L, cl->engine);
    if (!c->engine)
        c->engine = engine_ref(cl->engine);
    int why = bj_make_transfer(L, &rq, cl, &c->transfer);
    if (why) {
        bj_push_error(L, BJ_ERR_IO, NULL, "%s: %s", rq.file, strerror(why));
        bj_describe_request(L, c->transfer);
        refuse(L, c, ci);
        lua_settop(L, top);
        return;
    }
    if (c->run.step == STEP_SEND && rq.body == BODY_QUEUE) {
        c->restart = c->pushed;
        c->finished = c->pushed = false;
    }
    download_begin(&c->download);
    c->no_csv = false;
    if (!engine_start(c->engine, c->transfer)) {
        bj_release_call(c); /* nobody will collect it any more */
        bj_raise(L, "bulkjob: the Lua state is being closed");
    }
    if (closing)
        bj_closer(L, job)->closes++;
    if (aborting)
        bj_check_job(L, job)->aborts++;
    c->sent_at = clock_now();
    c->sent = true;
    c->phase = PHASE_RUNNING;
    lua_settop(L, top);
}

static void fail(lua_State *L, struct call *c, int ci)
{
    c->phase = PHASE_DONE;
    bj_complete_error(L, c, ci);
    bj_report_strays(L, c, ci);
    bj_finish_call(L, c, ci);
}

static void succeed(lua_State *L, struct call *c, int ci)
{
    c->phase = PHASE_DONE;
    lua_pushnil(L);
    bj_keep(L, ci, "error");
    bj_report_strays(L, c, ci);
    bj_finish_call(L, c, ci);
}

/* `error`: the stack index of the error of the last request, or 0. */
static void follow(lua_State *L, struct call *c, int ci, enum plan plan, int error)
{
    switch (plan) {
    case PLAN_SEND:
        c->resume_at = clock_now() + c->run.pause;
        if (c->request.deadline >= 0 && c->resume_at >= c->request.deadline) {
            fail(L, c, ci); /* with a reason, in place of a time-out later */
            return;
        }
        c->phase = PHASE_SEND;
        if (error)
            bj_report_retry(L, c, ci, error);
        return;
    case PLAN_TOKEN:
        c->phase = PHASE_TOKEN;
        c->resume_at = 0;
        return;
    case PLAN_DONE_EARLIER:
        c->phase = PHASE_DONE;
        lua_pushboolean(L, 1);
        bj_keep_result(L, c, ci);
        succeed(L, c, ci);
        return;
    case PLAN_DONE:
        succeed(L, c, ci);
        return;
    case PLAN_FAIL_STATE:
        c->phase = PHASE_DONE;
        bj_explain_state(L, c, ci);
        fail(L, c, ci);
        return;
    case PLAN_FAIL:
        fail(L, c, ci);
        return;
    }
}

/* The transfer is done: reads the response and decides what next. */
static void take_response(lua_State *L, struct call *c, int ci)
{
    struct reply r;
    struct answer a;
    int reply = lua_gettop(L) + 1;
    enum step step = c->run.step;
    enum expect expect = step == STEP_SEND ? c->request.expect : EXPECT_JOB;
    bool login = c->request.login;
    memset(&r, 0, sizeof r);
    check_download(c, &r);
    check_page(c, &r);
    bj_push_reply(L, c->transfer, expect, login, &r);
    bj_kept(L, ci, "job");
    if (!lua_isnil(L, -1)) {
        bj_job_id(L, -1); /* stays in the job */
        r.expected_id = lua_tostring(L, -1);
    }
    lua_settop(L, reply + REPLY_VALUES - 1);
    enum fault fault = verdict(c->transfer, c->run.verb, step, expect, &r, &a);
    note_service_time(L, c, ci);
    int error = 0;
    if (fault == FAULT_NONE) {
        bj_push_result(L, c->transfer, expect, &r, reply);
    } else {
        error = reply + REPLY_VALUES;
        bj_push_fault(L, fault, c->transfer, login, &r, reply);
        bj_describe_request(L, c->transfer);
        bj_pushinteger(L, c->run.sends + (step == STEP_SEND));
        lua_setfield(L, -2, "attempts");
        if (fault == FAULT_QUOTE)
            bj_describe_quote(L, rows_of(c));
        if (a.has_contents) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "contents");
        }
        if (a.not_found) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "not_found");
        }
        bj_name_job(L, ci);
    }
    bj_report_request(L, c, ci, error);
    lua_pushvalue(L, reply + REPLY_VALUES);
    if (error)
        bj_keep_error(L, ci, step == STEP_SEND);
    else
        bj_keep_result(L, c, ci);
    /* Nothing can raise from here to where the next phase is set: each response counts once. Jitter comes from a state
     * of our own: the host's random numbers stay the host's. */
    complete_answer(c, &a);
    note_request(L, c, ci, &a);
    follow(L, c, ci, verb_next(&c->run, &a, erand48(c->random_state)), error);
    lua_settop(L, reply - 1);
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
    struct queue *q = bj_open_queue(c);
    if (q && !atomic_load(&t->done) && !queue_writer_waits(q))
        return "data";
    if (bj_may_take(c)) {
        /* A body that came whole is read to its end before the response counts; one that broke begins again. */
        if (atomic_load_explicit(&t->done, memory_order_acquire))
            return t->code == CURLE_OK && t->stop == STOP_NONE &&
                           !(queue_is_drained(&t->sink.queue) && download_is_empty(&c->download))
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
    return cl->token && cl->base && (c->phase != PHASE_TOKEN || cl->token != c->token);
}

/* call:step() -> "done" | "wait" | "token" | "data" | "restart": takes the call as far as it goes without waiting.
 * "token": core.set_token, then step again. "data": push, fill or read; "restart": push from the start. */
static int call_step(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    lua_settop(L, 1);
    for (;;) {
        const char *work;
        switch (c->phase) {
        case PHASE_DONE:
            lua_pushliteral(L, "done");
            return 1;
        case PHASE_TOKEN:
            if (!has_token(L, c)) {
                lua_pushliteral(L, "token");
                return 1;
            }
            c->phase = PHASE_SEND; /* the host has been for one, or another call has */
            break;
        case PHASE_SEND:
            if (clock_now() < c->resume_at) {
                lua_pushliteral(L, "wait");
                return 1;
            }
            if (c->request.login || has_token(L, c))
                start_request(L, c, 1);
            else
                c->phase = PHASE_TOKEN;
            break;
        case PHASE_RUNNING:
            bj_check_process(L, c->engine);
            work = host_work(c);
            if (!work && atomic_load_explicit(&c->transfer->done, memory_order_acquire)) {
                take_response(L, c, 1);
                break;
            }
            lua_pushstring(L, work ? work : "wait");
            return 1;
        }
    }
}

/* call:timeout() -> seconds until step() is worth calling even without news, or, of a call that needs a token, until
 * its time is used up; nil: no such moment */
static int call_timeout(lua_State *L)
{
    const struct call *c = bj_check_call(L, 1);
    double at = c->phase == PHASE_SEND ? c->resume_at : c->phase == PHASE_TOKEN ? c->request.deadline : -1;
    if (at < 0)
        return 0;
    double left = at - clock_now();
    lua_pushnumber(L, left > 0 ? left : 0);
    return 1;
}

/* call:result() -> the verb's result | nil, err */
static int call_result(lua_State *L)
{
    const struct call *c = bj_check_call(L, 1);
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
    struct call *c = bj_check_call(L, 1);
    lua_settop(L, 2);
    if (c->phase == PHASE_DONE)
        return 0;
    bool doubt = verb_would_doubt(&c->run, c->phase == PHASE_RUNNING);
    bj_finish_call(L, c, 1);
    if (lua_isnil(L, 2)) {
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the call was cancelled");
        lua_replace(L, 2);
        bj_name_job(L, 1);
    }
    if (doubt)
        bj_set_doubt(L, c);
    bj_keep(L, 1, "error");
    return 0;
}

/* call:watch(channel, tag): the news of the call go there, under this tag */
static int call_watch(lua_State *L)
{
    struct call *c = bj_check_call(L, 1);
    struct channel *channel = bj_check_channel(L, 2);
    double tag = luaL_checknumber(L, 3);
    if (c->phase == PHASE_RUNNING)
        engine_watch(c->transfer, channel, tag);
    return 0;
}

/* call:events() -> the events since the last time, or nil */
static int call_events(lua_State *L)
{
    const struct call *c = bj_check_call(L, 1);
    if (!c->wants_events)
        return 0;
    bj_kept(L, 1, "events");
    if (lua_isnil(L, -1))
        return 1;
    lua_pushnil(L);
    bj_keep(L, 1, "events");
    return 1;
}

/* call:was_sent() -> whether the service may have heard of it */
static int call_was_sent(lua_State *L)
{
    lua_pushboolean(L, bj_check_call(L, 1)->sent);
    return 1;
}

/* call:progress() -> bytes of the body that have been read for sending, in the try that is under way */
static int call_progress(lua_State *L)
{
    const struct call *c = bj_check_call(L, 1);
    bj_pushinteger(L, c->transfer ? atomic_load(&c->transfer->source.sent) : 0);
    return 1;
}

/* call:job() -> the job it is about, or nil */
static int call_job(lua_State *L)
{
    bj_check_call(L, 1);
    bj_kept(L, 1, "job");
    return 1;
}

static int call_gc(lua_State *L)
{
    bj_release_call(bj_check_call(L, 1));
    return 0;
}

void bj_open_drive(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", call_step},         {"timeout", call_timeout},      {"result", call_result},
        {"cancel", call_cancel},     {"events", call_events},        {"push", bj_call_push},
        {"finish", bj_call_finish},  {"fill", bj_call_fill},         {"read", bj_call_read},
        {"job", call_job},           {"was_sent", call_was_sent},    {"watch", call_watch},
        {"progress", call_progress}, {"set_once", bj_call_set_once}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", call_gc},
        {NULL, NULL},
    };
    bj_new_class(L, bj_call_class, methods, meta);
}
