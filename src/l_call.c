#include "l_call.h"

#include "clock.h"
#include "inflow.h"
#include "l_answer.h"
#include "l_channel.h"
#include "l_csv.h"
#include "l_error.h"
#include "l_event.h"
#include "l_job.h"
#include "l_open.h"
#include "l_request.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALL_CLASS "bulkjob.call"
#define CSV_TYPE "text/csv; charset=UTF-8"

enum { TAKE_BYTES = 64 * 1024, REASON_BYTES = 4096 };

/* Of a small call, where the client does not say otherwise. */
static const double SMALL_CALL_SECONDS = 600;

/* Seconds: the Date header and createdDate both show whole ones. */
static const double CLOCK_STEPS = 2;

enum phase {
    PHASE_SEND,    /* a request goes out at `resume_at` */
    PHASE_RUNNING, /* it is out */
    PHASE_TOKEN,   /* the host has to get a token */
    PHASE_DONE,
};

struct call {
    struct verb_run run;
    enum phase phase;
    double resume_at;
    struct request request; /* of the verb itself; its texts are kept in the user value */
    struct engine *engine;  /* a reference, while requests may go out */
    struct transfer *transfer;

    bool repeatable; /* BODY_QUEUE: the host can push it all again */
    bool restart;    /* and has to */
    bool pushed;
    bool finished; /* the host has pushed all */
    int bodies;    /* whole bodies that may have arrived */

    struct inflow in;       /* EXPECT_CSV */
    char *piece;            /* for call:read() */
    size_t piece_len;       /* of these the host has not got yet */
    bool counted;           /* it is a page of a query, whose rows are counted */
    struct csv_count count; /* of what call:read() has given */
    bool no_csv;            /* the response is something else */

    bool stuck;           /* it could be tried again if the source could be read again */
    bool sent;            /* a request has gone to the engine */
    bool wants_events;    /* there is an on_event */
    unsigned long tokens; /* the client's count when the request went out */
    unsigned short dice[3];
    double sent_at;    /* when the last request went out */
    double lost_from;  /* when the first one went out that was lost */
    double lost_until; /* when the last one was lost */

    struct secret *secrets; /* of a login */
    size_t secret_count;
};

static struct call *check_call(lua_State *L, int i)
{
    return luaL_checkudata(L, i, CALL_CLASS);
}

/* ---- making one ---- */

struct call *bj_push_call(lua_State *L, enum verb verb, int client, int job, const char *method, enum expect expect)
{
    client = lua_absindex(L, client);
    const struct client *cl = bj_check_client(L, client);
    struct call *c = bj_new_object(L, CALL_CLASS, sizeof *c); /* path, call */
    double now = clock_now();
    double seconds = cl->settings->total_timeout;
    c->request.fd = c->request.sink_fd = -1;
    c->request.method = method;
    c->request.expect = expect;
    c->request.small = verb != VERB_UPLOAD && expect != EXPECT_CSV && expect != EXPECT_FILE;
    c->request.fresh = verb == VERB_CREATE_FULL;
    if (seconds == 0 && c->request.small)
        seconds = SMALL_CALL_SECONDS;
    c->request.deadline = seconds > 0 ? now + seconds : -1;
    c->wants_events = cl->wants_events;
    verb_begin(&c->run, verb, &cl->retry, cl->renewable);
    unsigned long long seed = (unsigned long long)(now * 1e9) ^ (unsigned long long)(size_t)c;
    memcpy(c->dice, &seed, sizeof c->dice);
    lua_insert(L, -2);
    c->request.path = lua_tostring(L, -1);
    bj_keep(L, -2, "path");
    lua_pushvalue(L, client);
    bj_keep(L, -2, "client");
    if (job) {
        lua_pushvalue(L, job);
        bj_keep(L, -2, "job");
    }
    bj_client_add_call(L, client);
    return c;
}

void bj_call_body(lua_State *L, int i)
{
    struct call *c = check_call(L, i);
    i = lua_absindex(L, i);
    c->request.body = BODY_TEXT;
    c->request.body_type = lua_tostring(L, -1);
    bj_keep(L, i, "body_type");
    c->request.text = lua_tolstring(L, -1, &c->request.len);
    bj_keep(L, i, "body");
}

void bj_call_file(lua_State *L, int i, int fd, off_t first, off_t size)
{
    struct call *c = check_call(L, i);
    c->request.body = BODY_FILE;
    c->request.body_type = CSV_TYPE;
    c->request.fd = fd;
    c->request.first = first;
    c->request.size = size;
    i = lua_absindex(L, i);
    c->request.digest = lua_tostring(L, -1);
    bj_keep(L, i, "digest");
    c->request.text = lua_tolstring(L, -1, &c->request.len);
    bj_keep(L, i, "body");
    c->request.file = lua_tostring(L, -1);
    bj_keep(L, i, "file");
}

void bj_call_queue(struct call *c, bool repeatable)
{
    c->request.body = BODY_QUEUE;
    c->request.body_type = CSV_TYPE;
    c->repeatable = repeatable;
}

void bj_call_login(lua_State *L, int i)
{
    struct call *c = check_call(L, i);
    size_t n = lua_rawlen(L, -1);
    c->request.login = true;
    c->run.renewable = false;
    c->secrets = calloc(n ? n : 1, sizeof *c->secrets);
    if (!c->secrets)
        bj_no_memory(L);
    c->secret_count = n;
    for (size_t k = 0; k < n; k++) {
        lua_rawgeti(L, -1, (int)k + 1);
        if (!bj_secret_set(L, &c->secrets[k], luaL_checkstring(L, -1)))
            bj_no_memory(L);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void bj_call_spec(lua_State *L, int i)
{
    check_call(L, i);
    bj_keep(L, i, "spec");
}

void bj_call_count(struct call *c)
{
    c->counted = c->request.counted = true;
}

void bj_call_sink(lua_State *L, int i, int fd, bool skip_line)
{
    struct call *c = check_call(L, i);
    c->request.sink_fd = fd;
    c->request.sink_base = lseek(fd, 0, SEEK_CUR);
    c->request.skip_line = skip_line;
    c->request.file = lua_tostring(L, -1);
    bj_keep(L, i, "file");
}

void bj_call_tries(struct call *c, int tries)
{
    if (c->run.policy.tries > tries)
        c->run.policy.tries = tries;
}

void bj_call_seconds(struct call *c, double seconds)
{
    double deadline = clock_now() + seconds;
    if (c->request.deadline < 0 || c->request.deadline > deadline)
        c->request.deadline = deadline;
}

/* ---- the end of one ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What the garbage collector may be slow to free, or in a state that is being closed may never free, is let go at once.
 */
static void release(struct call *c)
{
    c->phase = PHASE_DONE;
    if (c->transfer) {
        engine_cancel(c->engine, c->transfer);
        transfer_detach(c->transfer); /* the texts it reads from may go now */
    }
    transfer_unref(c->transfer);
    c->transfer = NULL;
    if (c->engine)
        engine_unref(c->engine);
    c->engine = NULL;
    close_fd(&c->request.fd);
    close_fd(&c->request.sink_fd);
    inflow_free(&c->in);
    free(c->piece);
    c->piece = NULL;
    c->piece_len = 0;
    for (size_t i = 0; i < c->secret_count; i++)
        bj_secret_clear(&c->secrets[i]);
    free(c->secrets);
    c->secrets = NULL;
    c->secret_count = 0;
}

/* The same, and its texts in Lua: an upload's may be large, and its job lives on. */
static void finish(lua_State *L, struct call *c, int ci)
{
    release(c);
    lua_pushnil(L);
    bj_keep(L, ci, "body");
    if (c->run.verb == VERB_UPLOAD) {
        bj_kept(L, ci, "job");
        lua_pushnil(L);
        bj_set_job_upload(L, -2);
        lua_pop(L, 1);
    }
}

/* ---- events ---- */

/* Pushes the array of events that nobody has taken yet. */
static void push_events(lua_State *L, int ci)
{
    bj_kept(L, ci, "events");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        bj_keep(L, ci, "events");
    }
}

/* Adds to the table on top the id of the job that the call is about, if there is one, as `job_id`. */
static void name_job(lua_State *L, int ci)
{
    bj_kept(L, ci, "job");
    if (!lua_isnil(L, -1)) {
        bj_job_id(L, -1);
        lua_setfield(L, -3, "job_id");
    }
    lua_pop(L, 1);
}

static void report_request(lua_State *L, const struct call *c, int ci, int error)
{
    if (!c->wants_events)
        return;
    push_events(L, ci);
    bj_push_request_event(L, -1, c->transfer, c->run.sends + (c->run.step == STEP_SEND), error);
    name_job(L, ci);
    lua_pop(L, 2);
}

static void report_retry(lua_State *L, const struct call *c, int ci, int error)
{
    if (!c->wants_events)
        return;
    push_events(L, ci);
    bj_push_retry_event(L, -1, c->run.pause, c->run.sends + 1, error);
    name_job(L, ci);
    lua_pop(L, 2);
}

static void report_state(lua_State *L, const struct call *c, int ci, enum job_state from, enum job_state to)
{
    if (!c->wants_events || from == to)
        return;
    push_events(L, ci);
    bj_push_state_event(L, -1, from, to);
    name_job(L, ci);
    lua_pop(L, 2);
}

/* A create that is over may have left empty open jobs. They can process nothing, so nobody touches them. */
static void report_strays(lua_State *L, const struct call *c, int ci)
{
    if (!c->wants_events || c->run.verb != VERB_CREATE || c->run.lost_sends == 0)
        return;
    bj_kept(L, ci, "client");
    double shift = bj_check_client(L, -1)->service_time;
    if (shift == 0) /* the service was never heard of */
        shift = (double)time(NULL) - clock_now();
    push_events(L, ci);
    bj_kept(L, ci, "spec"); /* client, events, spec */
    bj_push_stray_event(L, -2, lua_gettop(L), c->run.lost_sends, c->lost_from + shift - CLOCK_STEPS,
                        c->lost_until + shift + CLOCK_STEPS);
    lua_pop(L, 4);
}

/* ---- CSV to the host ---- */

/* Is there a CSV response under way that the host can take bytes from? One that turns out to be something else is
 * ended; the failure is found when it is done. */
static bool may_take(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->request.expect != EXPECT_CSV || c->run.step != STEP_SEND || c->in.corrupt ||
        c->in.differs || c->no_csv || !atomic_load_explicit(&c->transfer->begun, memory_order_acquire))
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
    if (!may_take(c))
        return 0;
    bool ok = inflow_take(&c->in, &t->sink.queue, t->sink.gzip, out, room, &got, &wake);
    if (wake)
        engine_unpause(c->engine, t);
    if (!ok)
        bj_no_memory(L);
    if (c->in.corrupt || c->in.differs)
        engine_cancel(c->engine, t);
    return got;
}

/* call:fill(reader) -> bytes moved from the response into a core.csv_reader */
static int call_fill(lua_State *L)
{
    struct call *c = check_call(L, 1);
    struct csv_reader *r = bj_check_csv_reader(L, 2);
    char *room = csv_reader_space(r, TAKE_BYTES);
    size_t n = 0;
    if (!room) {
        bj_fail_csv(L, r);
        name_job(L, 1);
        return 2;
    }
    n = take_bytes(L, c, room, TAKE_BYTES);
    csv_reader_filled(r, n);
    lua_pushnumber(L, (lua_Number)n);
    return 1;
}

/* call:read() -> the next piece of the response, "" when there is none now */
static int call_read(lua_State *L)
{
    struct call *c = check_call(L, 1);
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

/* ---- bytes from the host ---- */

static struct queue *open_queue(struct call *c)
{
    if (c->phase != PHASE_RUNNING || c->run.step != STEP_SEND || c->request.body != BODY_QUEUE || c->finished)
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
static void keep_error(lua_State *L, int ci, bool first)
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

static void set_doubt(lua_State *L, const struct call *c)
{
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "in_doubt");
    bj_add_message(L, "; %s",
                   c->run.verb == VERB_CREATE_FULL ? "it was sent once only, and whether it took effect cannot be known"
                                                   : "whether it took effect is not known");
}

/* Completes the kept error with what is known only at the end. */
static void complete_error(lua_State *L, const struct call *c, int ci)
{
    bj_kept(L, ci, "error");
    bj_pushinteger(L, c->run.sends);
    lua_setfield(L, -2, "attempts");
    if (c->stuck)
        bj_add_message(L, "; %s cannot be read again, so it was not retried", "a source that is a function");
    if (c->run.in_doubt)
        set_doubt(L, c);
    if (c->run.verb == VERB_CREATE && c->run.lost_sends > 0) {
        bj_pushinteger(L, c->run.lost_sends);
        lua_setfield(L, -2, "strays");
    }
    bj_kept(L, ci, "also");
    lua_setfield(L, -2, "also");
    lua_pop(L, 1);
}

/* Appends the reason that the job's info gives, if it gives one, to the message of the error on top. */
static void add_reason(lua_State *L, int job)
{
    bj_job_info(L, job);
    lua_getfield(L, -1, "errorMessage");
    lua_replace(L, -2); /* error, errorMessage */
    if (lua_type(L, -1) == LUA_TSTRING) {
        size_t len;
        const char *reason = lua_tolstring(L, -1, &len);
        bj_push_masked(L, reason, len, REASON_BYTES);
        lua_replace(L, -2);
        lua_pushvalue(L, -2);
        bj_add_message(L, ": %s", lua_tostring(L, -2));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The job ended up where this verb cannot have it: says so in the kept error. */
static void explain_state(lua_State *L, const struct call *c, int ci)
{
    bj_kept(L, ci, "job");
    int job = lua_gettop(L);
    enum job_state at = bj_check_job(L, job)->state;
    const char *state = job_state_name(at);
    const char *shown = c->run.gone ? "not there any more" : state ? state : "in an unknown state";
    bj_kept(L, ci, "error"); /* job, error */
    if (c->run.wrong_state) {
        bj_add_message(L, ": the job is %s", shown);
    } else {
        static const char *const response_fields[] = {"code", "status"};
        for (size_t i = 0; i < sizeof response_fields / sizeof response_fields[0]; i++) {
            lua_pushnil(L);
            lua_setfield(L, -2, response_fields[i]);
        }
        lua_pushliteral(L, BJ_ERR_JOB);
        lua_setfield(L, -2, "kind");
        lua_pushfstring(L, "the job could not be %s: it is %s", c->run.verb == VERB_CLOSE ? "closed" : "aborted",
                        shown);
        lua_setfield(L, -2, "message");
    }
    if (!c->run.gone) {
        lua_pushstring(L, state);
        lua_setfield(L, -2, "state");
        add_reason(L, job);
    }
    if (c->run.verb == VERB_CLOSE && (c->run.gone || at == STATE_ABORTED))
        bj_add_message(L, "; rows of it may have been %s", "processed");
    lua_pop(L, 2);
}

/* Replaces the info on top of a created job by a handle on it, which is kept. */
static void make_job(lua_State *L, struct call *c, int ci)
{
    int info = lua_gettop(L);
    bj_kept(L, ci, "client");
    lua_getfield(L, info, "id");
    struct job *j = bj_push_job(L, info + 1, c->run.verb == VERB_QUERY ? JOB_QUERY : JOB_INGEST); /* client, job */
    j->ours = 1;
    j->lost_creates = c->run.verb == VERB_CREATE ? c->run.lost_sends : 0;
    lua_replace(L, info + 1);
    lua_pushvalue(L, info + 1);
    bj_keep(L, ci, "job");
}

/* Turns the good answer on top into the verb's result, which is kept. */
static void keep_result(lua_State *L, struct call *c, int ci)
{
    int answer = lua_gettop(L);
    bool job_info = c->run.step == STEP_READ_BACK || c->request.expect == EXPECT_JOB;
    if (job_info) {
        bj_kept(L, ci, "job");
        bool created = lua_isnil(L, -1);
        if (created) {
            lua_pop(L, 1);
            make_job(L, c, ci);
        }
        enum job_state before = bj_check_job(L, -1)->state;
        bj_update_job(L, answer + 1, answer); /* answer, job, info */
        report_state(L, c, ci, before, bj_check_job(L, answer + 1)->state);
        if (created)
            lua_pop(L, 1); /* the result of a create is its job */
        lua_replace(L, answer);
        lua_settop(L, answer);
    } else if (c->run.verb == VERB_UPLOAD) {
        bj_kept(L, ci, "job");
        bj_check_job(L, -1)->uploaded = 1;
        lua_pop(L, 1);
    }
    bj_keep(L, ci, "result");
}

/* ---- the facts of a response ---- */

/* A download that came whole for HTTP may be no good, or may have been ended by us for that. */
static void check_download(struct call *c, struct reply *r)
{
    const struct transfer *t = c->transfer;
    if (c->request.expect != EXPECT_CSV || c->run.step != STEP_SEND)
        return;
    if (t->code == CURLE_OK && t->stop == STOP_NONE && t->status / 100 == 2 && response_is_csv(t))
        inflow_end(&c->in);
    r->download_corrupt = c->in.corrupt;
    r->download_differs = c->in.differs;
}

/* Counts the rows of a page of a query. What is read row by row is counted there. */
static void check_rows(const struct call *c, struct reply *r)
{
    const struct transfer *t = c->transfer;
    const struct csv_count *count = c->piece ? &c->count : c->request.expect == EXPECT_FILE ? &t->sink.count : NULL;
    size_t len;
    if (!c->counted || !count || c->run.step != STEP_SEND)
        return;
    const char *expected = transfer_header(t, "Sforce-NumberOfRecords", &len);
    r->counted = true;
    r->rows = csv_count_rows(count);
    r->rows_cut = csv_count_is_cut(count);
    r->rows_differ = expected && strtoull(expected, NULL, 10) != r->rows;
}

/* What the request was, beside its response. */
static void complete_answer(struct call *c, struct answer *a)
{
    a->can_repeat = c->request.body != BODY_QUEUE || c->repeatable || !c->pushed;
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
            j->closes--;
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
    double date = response_date(c->transfer);
    if (date < 0 || c->request.login)
        return;
    bj_kept(L, ci, "client");
    bj_check_client(L, -1)->service_time = date - clock_now();
    lua_pop(L, 1);
}

/* ---- the driver: transfer, reply, verdict, what next ---- */

/* Sends the request of the step at hand, or ends the call with an error. */
static void start_request(lua_State *L, struct call *c, int ci)
{
    int top = lua_gettop(L);
    bj_kept(L, ci, "client");
    struct client *cl = bj_check_client(L, -1);
    bj_kept(L, ci, "job");
    struct job *j = lua_isnil(L, -1) ? NULL : bj_check_job(L, -1);
    struct request rq = c->request;
    if (c->run.step == STEP_READ_BACK) {
        rq.method = "GET";
        rq.expect = EXPECT_JOB;
        rq.body = BODY_NONE;
    } else if (c->run.verb == VERB_CLOSE && j->aborts > 0) {
        bj_push_error(L, BJ_ERR_JOB, NULL, "an abort of this job was sent before, so this handle does not close it");
        lua_pushstring(L, job_state_name(j->state));
        lua_setfield(L, -2, "state");
        name_job(L, ci);
        bj_keep(L, ci, "error");
        complete_error(L, c, ci);
        finish(L, c, ci);
        lua_settop(L, top);
        return;
    }
    c->tokens = cl->tokens;
    if (!cl->engine)
        cl->engine = bj_engine(L, cl->nice);
    bj_check_process(L, cl->engine);
    if (!c->engine)
        c->engine = engine_ref(cl->engine);
    int why = bj_make_transfer(L, &rq, cl, &c->transfer);
    if (why) {
        bj_push_error(L, BJ_ERR_IO, NULL, "%s: %s", rq.file, strerror(why));
        bj_describe_request(L, c->transfer);
        name_job(L, ci);
        bj_keep(L, ci, "error");
        complete_error(L, c, ci);
        finish(L, c, ci);
        lua_settop(L, top);
        return;
    }
    if (c->run.step == STEP_SEND && rq.body == BODY_QUEUE) {
        c->restart = c->pushed;
        c->finished = c->pushed = false;
    }
    inflow_begin(&c->in);
    c->no_csv = false;
    if (!engine_start(c->engine, c->transfer)) {
        release(c); /* nobody will collect it any more */
        bj_raise(L, "bulkjob: the Lua state is being closed");
    }
    if (c->run.step == STEP_SEND && c->run.verb == VERB_CLOSE)
        j->closes++;
    if (c->run.step == STEP_SEND && c->run.verb == VERB_ABORT)
        j->aborts++;
    c->sent_at = clock_now();
    c->sent = true;
    c->phase = PHASE_RUNNING;
    lua_settop(L, top);
}

static void fail(lua_State *L, struct call *c, int ci)
{
    c->phase = PHASE_DONE;
    complete_error(L, c, ci);
    report_strays(L, c, ci);
    finish(L, c, ci);
}

static void succeed(lua_State *L, struct call *c, int ci)
{
    c->phase = PHASE_DONE;
    lua_pushnil(L);
    bj_keep(L, ci, "error");
    report_strays(L, c, ci);
    finish(L, c, ci);
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
            report_retry(L, c, ci, error);
        return;
    case PLAN_TOKEN:
        c->phase = PHASE_TOKEN;
        c->resume_at = 0;
        return;
    case PLAN_DONE_EARLIER:
        c->phase = PHASE_DONE;
        lua_pushboolean(L, 1);
        keep_result(L, c, ci);
        succeed(L, c, ci);
        return;
    case PLAN_DONE:
        succeed(L, c, ci);
        return;
    case PLAN_FAIL_STATE:
        c->phase = PHASE_DONE;
        explain_state(L, c, ci);
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
    check_rows(c, &r);
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
        if (a.has_contents) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "contents");
        }
        name_job(L, ci);
    }
    report_request(L, c, ci, error);
    lua_pushvalue(L, reply + REPLY_VALUES);
    if (error)
        keep_error(L, ci, step == STEP_SEND);
    else
        keep_result(L, c, ci);
    /* Nothing can raise from here to where the next phase is set: each response counts once. Jitter comes from a state
     * of our own: the host's random numbers stay the host's. */
    complete_answer(c, &a);
    note_request(L, c, ci, &a);
    follow(L, c, ci, verb_next(&c->run, &a, clock_now(), erand48(c->dice)), error);
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
    struct queue *q = open_queue(c);
    if (q && !atomic_load(&t->done) && !queue_writer_waits(q))
        return "data";
    if (may_take(c)) {
        /* A body that came whole is read to its end before the response counts; one that broke begins again. */
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
    return cl->token.text && cl->base && (c->phase != PHASE_TOKEN || cl->tokens != c->tokens);
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
            if (!c->request.login && !has_token(L, c)) {
                lua_pushliteral(L, "token");
                return 1;
            }
            start_request(L, c, 1);
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
    bool doubt = verb_would_doubt(&c->run, c->phase == PHASE_RUNNING);
    finish(L, c, 1);
    if (lua_isnil(L, 2)) {
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the call was cancelled");
        lua_replace(L, 2);
        name_job(L, 1);
    }
    if (doubt)
        set_doubt(L, c);
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
    release(check_call(L, 1));
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
