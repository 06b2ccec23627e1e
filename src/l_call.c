/* One verb on its way: requests, answers, pauses, until there is a result. The Lua half calls step() and waits. */
#include "l_bulkjob.h"

#include "clock.h"
#include "csv.h"
#include "l_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define CALL_CLASS "bulkjob.call"

enum { RAW_BYTES = 16 * 1024, TAKE_BYTES = 64 * 1024, REASON_BYTES = 4096 };

enum body_kind { BODY_NONE, BODY_TEXT, BODY_FILE, BODY_QUEUE };

enum phase {
    PHASE_SEND,    /* a request goes out at `resume_at` */
    PHASE_RUNNING, /* it is out */
    PHASE_TOKEN,   /* the host has to get a token */
    PHASE_DONE,
};

/* CSV on its way to the host. What was handed over cannot be taken back, so a download that breaks is begun again and
 * the part that the host has is skipped, if its checksum is the same. */
struct inflow {
    char *piece; /* for call:read() */
    char *raw;   /* as it came, not unpacked yet */
    size_t raw_at;
    size_t raw_len;
    struct unpacker unpacker;
    bool open; /* the unpacker is ready */
    bool corrupt;
    bool foreign;  /* no CSV at all */
    bool differs;  /* the second download is not the same as the first */
    off_t handed;  /* unpacked bytes that the host has */
    uLong crc;     /* of these */
    off_t skipped; /* of them, in this download */
    uLong skip_crc;
};

struct call {
    struct verb_run run;
    enum phase phase;
    double resume_at;
    const char *method;
    enum expect expect;
    struct engine *engine; /* a reference, once started */
    struct transfer *transfer;

    enum body_kind body;
    const char *body_type; /* NULL: kept as "body_type" */
    int fd;                /* BODY_FILE */
    off_t first;
    off_t size;
    bool repeatable; /* BODY_QUEUE: the host can push it all again */
    bool restart;    /* and has to */
    bool pushed;
    bool finished; /* the host has pushed all */

    int sink_fd; /* EXPECT_FILE */
    off_t sink_base;
    bool skip_line;

    struct inflow in;
    bool stuck; /* it could be tried again if the source could be read again */
    bool sent;  /* a request has gone to the engine */
    unsigned short dice[3];
    int lost_sends; /* creates whose answer was lost */
};

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

void bj_call_sink(struct call *c, int fd, int skip_line)
{
    c->sink_fd = fd;
    c->sink_base = lseek(fd, 0, SEEK_CUR);
    c->skip_line = skip_line;
}

/* ---- the request of a step ---- */

static void no_memory(lua_State *L)
{
    luaL_error(L, "not enough memory");
}

/* The method of the step at hand; pushes its path. */
static const char *push_target(lua_State *L, const struct call *c, int ci)
{
    switch (c->run.step) {
    case STEP_LIST:
        bj_kept(L, ci, "list_path");
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushliteral(L, "jobs/ingest?jobType=V2Ingest");
        }
        return "GET";
    case STEP_ABORT_STRAY:
        bj_kept(L, ci, "strays");
        lua_rawgeti(L, -1, (int)lua_rawlen(L, -1));
        lua_getfield(L, -1, "id");
        lua_pushfstring(L, "jobs/ingest/%s", lua_tostring(L, -1));
        lua_replace(L, -4);
        lua_pop(L, 2);
        return "PATCH";
    case STEP_READ_BACK:
        bj_kept(L, ci, "path");
        return "GET";
    case STEP_SEND:
        break;
    }
    bj_kept(L, ci, "path");
    return c->method;
}

static void add_header(lua_State *L, struct transfer *t, const char *name, const char *value)
{
    if (!transfer_add_header(t, name, value))
        no_memory(L);
}

static void add_headers(lua_State *L, struct call *c, int ci, const struct client *cl)
{
    struct transfer *t = c->transfer;
    struct buf bearer;
    bool csv = c->run.step == STEP_SEND && (c->expect == EXPECT_CSV || c->expect == EXPECT_FILE);
    buf_init(&bearer, 64 * 1024);
    bool ok = buf_add_string(&bearer, "Bearer ") && buf_add_string(&bearer, cl->token) &&
              transfer_add_header(t, "Authorization", buf_string(&bearer));
    if (bearer.data)
        explicit_bzero(bearer.data, bearer.len);
    buf_free(&bearer);
    if (!ok)
        no_memory(L);
    add_header(L, t, "Accept", csv ? "text/csv" : "application/json");
    if (cl->settings->compress)
        add_header(L, t, "Accept-Encoding", "gzip");
    if (t->source.kind == SOURCE_NONE)
        return;
    add_header(L, t, "Expect", "");
    if (c->run.step == STEP_ABORT_STRAY) {
        add_header(L, t, "Content-Type", "application/json; charset=UTF-8");
    } else if (c->body_type) {
        add_header(L, t, "Content-Type", c->body_type);
    } else {
        bj_kept(L, ci, "body_type");
        add_header(L, t, "Content-Type", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
}

/* Gives the transfer the body of this step. Answers 0, or the errno of a file that cannot be had. */
static int set_source(lua_State *L, struct call *c, int ci)
{
    static const char abort_body[] = "{\"state\":\"Aborted\"}";
    struct transfer *t = c->transfer;
    size_t len;
    int fd;
    if (c->run.step == STEP_ABORT_STRAY)
        source_init_bytes(&t->source, abort_body, sizeof abort_body - 1);
    if (c->run.step != STEP_SEND)
        return 0;
    switch (c->body) {
    case BODY_NONE:
        break;
    case BODY_TEXT:
        bj_kept(L, ci, "body");
        bj_pin(L, t, -1);
        source_init_bytes(&t->source, lua_tolstring(L, -1, &len), 0);
        t->source.len = len;
        lua_pop(L, 1);
        break;
    case BODY_FILE:
        fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return errno;
        source_init_file(&t->source, fd, c->first, c->size);
        break;
    case BODY_QUEUE:
        if (!source_init_queue(&t->source))
            no_memory(L);
        c->restart = c->pushed;
        c->finished = c->pushed = false;
        break;
    }
    return 0;
}

/* The same for where the answer goes. A file that was tried before is begun again. */
static int set_sink(lua_State *L, struct call *c)
{
    struct transfer *t = c->transfer;
    if (c->run.step != STEP_SEND)
        return 0;
    if (c->expect == EXPECT_CSV && !sink_init_queue(&t->sink))
        no_memory(L);
    if (c->expect == EXPECT_FILE) {
        int fd = fcntl(c->sink_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || ftruncate(fd, c->sink_base) != 0 || lseek(fd, c->sink_base, SEEK_SET) < 0) {
            int why = errno;
            if (fd >= 0)
                close(fd);
            return why;
        }
        sink_init_file(&t->sink, fd, c->skip_line);
    }
    return 0;
}

static void begin_inflow(struct inflow *in)
{
    unpacker_free(&in->unpacker);
    in->raw_at = in->raw_len = 0;
    in->open = in->corrupt = in->foreign = false;
    in->skipped = 0;
    in->skip_crc = 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The end: what the garbage collector may be slow to free, or in a state that is being closed may never free, is let go
 * at once. */
static void finish(struct call *c)
{
    c->phase = PHASE_DONE;
    transfer_unref(c->transfer);
    c->transfer = NULL;
    if (c->engine)
        engine_unref(c->engine);
    c->engine = NULL;
    close_fd(&c->fd);
    close_fd(&c->sink_fd);
    unpacker_free(&c->in.unpacker);
    free(c->in.raw);
    free(c->in.piece);
    c->in.raw = c->in.piece = NULL;
}

/* The thread of an engine does not come along into a forked process. */
static void check_process(lua_State *L, const struct engine *e)
{
    if (engine_is_foreign(e))
        bj_raise(L, "bulkjob: this client was used before the process forked; make a new one in the new process");
}

static void start_request(lua_State *L, struct call *c, int ci)
{
    bj_kept(L, ci, "client");
    struct client *cl = bj_check_client(L, -1);
    const char *method = push_target(L, c, ci); /* client, path */
    lua_pushfstring(L, "%s/services/data/v%s/%s", cl->base, cl->version, lua_tostring(L, -1));
    if (!cl->engine)
        cl->engine = bj_engine(L, cl->nice);
    check_process(L, cl->engine);
    if (!c->engine)
        c->engine = engine_ref(cl->engine);
    transfer_unref(c->transfer);
    c->transfer = transfer_new(cl->settings, method, lua_tostring(L, -1));
    if (!c->transfer)
        no_memory(L);
    int why = set_source(L, c, ci);
    if (!why)
        why = set_sink(L, c);
    if (why) {
        bj_push_error(L, BJ_ERR_IO, NULL, "%s", strerror(why));
        bj_describe_error(L, ci, c->transfer, &c->run);
        bj_keep(L, ci, "error");
        finish(c);
        lua_pop(L, 3);
        return;
    }
    add_headers(L, c, ci, cl);
    c->transfer->bulk =
        c->run.step == STEP_SEND && (c->run.verb == VERB_UPLOAD || c->expect == EXPECT_CSV || c->expect == EXPECT_FILE);
    begin_inflow(&c->in);
    if (!engine_start(c->engine, c->transfer)) {
        finish(c); /* nobody will collect it any more */
        bj_raise(L, "bulkjob: the Lua state is being closed");
    }
    lua_pop(L, 3);
    c->sent = true;
    c->phase = PHASE_RUNNING;
}

/* ---- CSV to the host ---- */

/* Lets the transfer end; the failure is found when it is done. */
static void spoil(struct call *c, bool *what)
{
    *what = true;
    engine_cancel(c->engine, c->transfer);
}

/* Takes the part of `out` that the host has already out of it. Answers the bytes that are new, now at the start. */
static size_t skip_handed(struct call *c, char *out, size_t n)
{
    struct inflow *in = &c->in;
    off_t missing = in->handed - in->skipped;
    size_t old = (off_t)n < missing ? n : (size_t)missing;
    if (old) {
        in->skip_crc = crc32(in->skip_crc, (const Bytef *)out, (uInt)old);
        in->skipped += (off_t)old;
        if (in->skipped == in->handed && in->skip_crc != in->crc) {
            spoil(c, &in->differs);
            return 0;
        }
        memmove(out, out + old, n - old);
    }
    n -= old;
    in->crc = crc32(in->crc, (const Bytef *)out, (uInt)n);
    in->handed += (off_t)n;
    in->skipped = in->skipped + (off_t)n;
    return n;
}

/* Is there a CSV answer under way that the host can take bytes from? */
static bool may_take(struct call *c)
{
    struct inflow *in = &c->in;
    if (c->phase != PHASE_RUNNING || c->expect != EXPECT_CSV || c->run.step != STEP_SEND || in->corrupt ||
        in->differs || in->foreign || !atomic_load_explicit(&c->transfer->begun, memory_order_acquire))
        return false;
    if (!bj_answer_is_csv(c->transfer))
        spoil(c, &in->foreign);
    return !in->foreign;
}

/* Moves what has come to `out`, unpacked; 0: nothing now. */
static size_t take_bytes(lua_State *L, struct call *c, char *out, size_t room)
{
    struct inflow *in = &c->in;
    struct transfer *t = c->transfer;
    if (!may_take(c))
        return 0;
    if (!in->raw && !(in->raw = malloc(RAW_BYTES)))
        no_memory(L);
    if (!in->open && !(in->open = unpacker_init(&in->unpacker, t->sink.gzip)))
        no_memory(L);
    for (;;) {
        size_t got;
        if (in->raw_len == 0) {
            bool ended;
            bool wake;
            in->raw_at = 0;
            in->raw_len = queue_take(&t->sink.queue, in->raw, RAW_BYTES, &ended, &wake);
            if (wake)
                engine_unpause(c->engine, t);
        }
        bool had_input = in->raw_len > 0;
        const char *from = in->raw + in->raw_at;
        enum unpack_event e = unpacker_run(&in->unpacker, &from, &in->raw_len, out, room, &got);
        in->raw_at = (size_t)(from - in->raw);
        if (e == UNPACK_NO_MEMORY)
            no_memory(L);
        if (e == UNPACK_CORRUPT) {
            spoil(c, &in->corrupt);
            return 0;
        }
        got = skip_handed(c, out, got);
        if (got || in->differs || !had_input)
            return got;
    }
}

/* call:fill(reader) -> bytes moved from the answer into a core.csv_reader */
static int call_fill(lua_State *L)
{
    struct call *c = check_call(L, 1);
    struct csv_reader *r = bj_check_csv_reader(L, 2);
    char *room = csv_reader_space(r, TAKE_BYTES);
    size_t n = 0;
    if (!room)
        return bj_fail(L, BJ_ERR_CSV, NULL, "%s", csv_reader_error(r));
    n = take_bytes(L, c, room, TAKE_BYTES);
    csv_reader_filled(r, n);
    lua_pushnumber(L, (lua_Number)n);
    return 1;
}

/* call:read() -> the next piece of the answer, "" when there is none now */
static int call_read(lua_State *L)
{
    struct call *c = check_call(L, 1);
    if (!c->in.piece && !(c->in.piece = malloc(TAKE_BYTES)))
        no_memory(L);
    lua_pushlstring(L, c->in.piece, take_bytes(L, c, c->in.piece, TAKE_BYTES));
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

/* ---- events ---- */

/* Appends an event of this type and leaves it on the stack; pushes nil when nobody watches. */
static int push_event(lua_State *L, int ci, const char *type)
{
    bj_kept(L, ci, "client");
    int watched = ((struct client *)lua_touserdata(L, -1))->watched;
    lua_pop(L, 1);
    if (!watched)
        return 0;
    bj_kept(L, ci, "events");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        bj_keep(L, ci, "events");
    }
    lua_createtable(L, 0, 10); /* events, event */
    lua_pushstring(L, type);
    lua_setfield(L, -2, "type");
    bj_kept(L, ci, "job");
    if (!lua_isnil(L, -1)) {
        lua_getfield(L, -1, "id");
        lua_setfield(L, -3, "job_id");
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (int)lua_rawlen(L, -3) + 1);
    lua_remove(L, -2);
    return 1;
}

static void set_number(lua_State *L, const char *name, double n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, long long n)
{
    bj_pushinteger(L, n);
    lua_setfield(L, -2, name);
}

/* The value at `result` is the error, if it is one. */
static void report_request(lua_State *L, const struct call *c, int ci, int error)
{
    const struct transfer *t = c->transfer;
    if (!push_event(L, ci, "request"))
        return;
    lua_pushstring(L, t->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, t->url);
    lua_setfield(L, -2, "url");
    if (t->status)
        set_integer(L, "status", t->status);
    set_number(L, "seconds", t->seconds);
    set_integer(L, "sent", t->source.sent);
    set_integer(L, "received", t->bytes_in);
    set_integer(L, "attempt", c->run.sends + (c->run.step == STEP_SEND));
    if (error) {
        lua_pushvalue(L, error);
        lua_setfield(L, -2, "error");
    }
    lua_pop(L, 1);
}

static void report_retry(lua_State *L, const struct call *c, int ci, int error)
{
    if (!push_event(L, ci, "retry"))
        return;
    set_number(L, "delay", c->run.pause);
    set_integer(L, "attempt", c->run.sends + 1);
    lua_pushvalue(L, error);
    lua_setfield(L, -2, "error");
    lua_pop(L, 1);
}

static void report_state(lua_State *L, int ci, enum job_state from, enum job_state to)
{
    if (from == to || !push_event(L, ci, "state"))
        return;
    lua_pushstring(L, job_state_name(from));
    lua_setfield(L, -2, "from");
    lua_pushstring(L, job_state_name(to));
    lua_setfield(L, -2, "to");
    lua_pop(L, 1);
}

/* ---- strays: jobs that creates with lost answers may have left ---- */

/* Adds the jobs of the list page on top that this create may have made. Each walk through the list begins anew. */
static void gather_strays(lua_State *L, struct call *c, int ci)
{
    int page = lua_gettop(L);
    bj_kept(L, ci, "list_path");
    if (lua_isnil(L, -1)) {
        lua_newtable(L);
        bj_keep(L, ci, "strays");
    }
    lua_pop(L, 1);
    bj_kept(L, ci, "strays");
    int strays = lua_gettop(L);
    bj_kept(L, ci, "spec");
    bj_kept(L, ci, "client");
    bj_kept(L, -1, "jobs");
    lua_replace(L, -2); /* page, strays, spec, jobs */
    double oldest = bj_answer_clock(c->transfer) - (clock_now() - c->run.started);
    lua_getfield(L, page, "records");
    for (int i = 1; lua_istable(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        if (!lua_istable(L, -1)) {
            lua_pop(L, 1);
            break;
        }
        if (bj_may_be_stray(L, strays + 1, c->run.verb == VERB_CREATE, oldest)) {
            lua_getfield(L, -1, "id");
            lua_rawget(L, strays + 2);
            int known = !lua_isnil(L, -1);
            lua_pop(L, 1);
            if (!known) {
                lua_pushvalue(L, -1);
                lua_rawseti(L, strays, (int)lua_rawlen(L, strays) + 1);
            }
        }
        lua_pop(L, 1);
    }
    lua_settop(L, page);
}

/* Tells of a job that is or was a stray. Its table is on top. */
static void report_stray(lua_State *L, int ci, int aborted)
{
    lua_getfield(L, -1, "id");
    if (push_event(L, ci, "stray")) { /* stray, id, event */
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "job_id");
        lua_pushboolean(L, aborted);
        lua_setfield(L, -2, "aborted");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Drops the strays that are not to be aborted: other users', and all of them as long as we do not know our own user, or
 * when there are more than can be ours. Those two kinds are kept as "doubtful". Answers how many are left to abort. */
static int sort_strays(lua_State *L, struct call *c, int ci)
{
    int top = lua_gettop(L);
    bj_kept(L, ci, "strays");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    bj_kept(L, ci, "client");
    bj_kept(L, -1, "user_id");
    lua_replace(L, -2); /* strays, user */
    lua_newtable(L);    /* strays, user, ours */
    for (int i = 1; i <= (int)lua_rawlen(L, top + 1); i++) {
        lua_rawgeti(L, top + 1, i);
        lua_getfield(L, -1, "createdById");
        int foreign = !lua_isnil(L, top + 2) && !lua_rawequal(L, -1, top + 2);
        lua_pop(L, 1);
        if (!foreign)
            lua_rawseti(L, top + 3, (int)lua_rawlen(L, top + 3) + 1);
        else
            lua_pop(L, 1);
    }
    int count = (int)lua_rawlen(L, top + 3);
    bool certain = !lua_isnil(L, top + 2) && count <= c->lost_sends && c->run.verb == VERB_CREATE;
    if (certain) {
        bj_keep(L, ci, "strays");
    } else {
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, top + 3, i);
            report_stray(L, ci, 0);
            lua_pop(L, 1);
        }
        bj_keep(L, ci, "doubtful");
        lua_pushnil(L);
        bj_keep(L, ci, "strays");
    }
    lua_settop(L, top);
    return certain ? count : 0;
}

/* The stray that was just dealt with leaves the list. */
static void drop_stray(lua_State *L, int ci, int error)
{
    bj_kept(L, ci, "strays");
    int n = (int)lua_rawlen(L, -1);
    lua_rawgeti(L, -1, n);
    report_stray(L, ci, !error);
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawseti(L, -2, n);
    lua_pop(L, 1);
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

/* Appends to the message of the error on top. */
static void add_message(lua_State *L, const char *format, const char *value)
{
    lua_getfield(L, -1, "message");
    lua_pushfstring(L, format, value);
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
}

/* Names the jobs in the error on top that may have been left behind. */
static void name_strays(lua_State *L, int ci)
{
    bj_kept(L, ci, "doubtful");
    if (lua_istable(L, -1)) {
        int error = lua_gettop(L) - 1;
        lua_newtable(L); /* error, doubtful, ids */
        for (int i = 1; i <= (int)lua_rawlen(L, error + 1); i++) {
            lua_rawgeti(L, error + 1, i);
            lua_getfield(L, -1, "id");
            lua_pushvalue(L, error);
            add_message(L, i == 1 ? "; this may have made job %s" : ", %s", lua_tostring(L, -2));
            lua_pop(L, 1);
            lua_rawseti(L, error + 2, i);
            lua_pop(L, 1);
        }
        lua_setfield(L, error, "strays");
    }
    lua_pop(L, 1);
}

/* Completes the kept error with what is known only at the end. */
static void complete_error(lua_State *L, struct call *c, int ci)
{
    bj_kept(L, ci, "error");
    set_integer(L, "attempts", c->run.sends);
    if (c->stuck)
        add_message(L, "; %s cannot be read again, so it was not retried", "a source that is a function");
    bj_kept(L, ci, "also");
    lua_setfield(L, -2, "also");
    name_strays(L, ci);
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
        add_message(L, ": the job is %s", shown);
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
        report_state(L, ci, before, bj_check_job(L, answer + 1)->state);
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
    const struct transfer *t = c->transfer;
    a->whole_sent = t->source.whole_sent;
    a->can_repeat = c->body != BODY_QUEUE || c->repeatable || !c->pushed;
    if (c->in.differs)
        a->outcome = OUTCOME_BROKEN;
    else if (c->in.corrupt ||
             (c->expect == EXPECT_CSV && a->outcome == OUTCOME_OK && c->in.open && !unpacker_whole(&c->in.unpacker)))
        a->outcome = OUTCOME_LOST;
}

/* Pushes the error of a download that came whole for HTTP but is no good. */
static void push_inflow_error(lua_State *L, const struct call *c)
{
    if (c->in.differs)
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL,
                      "the download broke, and what came at the second try does not begin like the first");
    else
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "the gzip body of the answer is damaged or cut off");
}

/* More pages of the list? Then the next one is asked for, and 1 is answered. */
static int list_goes_on(lua_State *L, struct call *c, int ci)
{
    if (!bj_push_next_page(L)) {
        lua_pushnil(L);
        bj_keep(L, ci, "list_path");
        return 0;
    }
    lua_pushfstring(L, "jobs/ingest?jobType=V2Ingest&queryLocator=%s", lua_tostring(L, -1));
    bj_keep(L, ci, "list_path");
    lua_pop(L, 1);
    c->phase = PHASE_SEND;
    c->resume_at = 0;
    return 1;
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
        if (sort_strays(L, c, ci) > 0) {
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
            report_retry(L, c, ci, error);
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
        if (error) { /* a refusal that proves an earlier success: the data is there, the job is gone */
            lua_pushboolean(L, 1);
            keep_result(L, c, ci);
        }
        lua_pushnil(L);
        bj_keep(L, ci, "error");
        finish(c);
        return;
    case PLAN_FAIL_STATE:
        explain_state(L, c, ci);
        break;
    case PLAN_FAIL:
    case PLAN_TIDY:
        break;
    }
    complete_error(L, c, ci);
    finish(c);
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
    bj_push_answer(L, ci, c->transfer, &c->run, expect, &a); /* result or error */
    int good = a.outcome == OUTCOME_OK;
    complete_answer(c, &a);
    if (step == STEP_SEND && (c->in.differs || (a.outcome == OUTCOME_LOST && (good || c->in.corrupt)))) {
        push_inflow_error(L, c);
        bj_describe_error(L, ci, c->transfer, &c->run);
        lua_replace(L, top + 1);
    }
    int error = a.outcome == OUTCOME_OK ? 0 : top + 1;
    report_request(L, c, ci, error);
    if (step == STEP_LIST && !error) {
        gather_strays(L, c, ci);
        if (list_goes_on(L, c, ci)) {
            lua_settop(L, top);
            return;
        }
    }
    if (step == STEP_ABORT_STRAY)
        drop_stray(L, ci, error);
    if (step == STEP_SEND && a.outcome == OUTCOME_LOST)
        c->lost_sends++;
    c->stuck = !a.can_repeat &&
               (a.outcome == OUTCOME_LOST || a.outcome == OUTCOME_NOT_APPLIED || a.outcome == OUTCOME_DEAD_TOKEN);
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
                           (!queue_is_drained(&t->sink.queue) || c->in.raw_len || !c->in.open)
                       ? "data"
                       : NULL;
        if (!queue_reader_waits(&t->sink.queue))
            return "data";
    }
    return NULL;
}

/* call:step() -> "done" | "wait" | "token" | "data" | "restart": takes the call as far as it goes without waiting.
 * "token": core.set_token, then step again. "data": push, fill or read; "restart": push from the start. */
static int call_step(lua_State *L)
{
    struct call *c = check_call(L, 1);
    lua_settop(L, 1);
    for (;;) {
        const char *work;
        switch (c->phase) {
        case PHASE_DONE:
            lua_pushliteral(L, "done");
            return 1;
        case PHASE_TOKEN:
            /* The next step means that the host has been for one. */
            c->phase = PHASE_SEND;
            lua_pushliteral(L, "token");
            return 1;
        case PHASE_SEND:
            if (clock_now() < c->resume_at) {
                lua_pushliteral(L, "wait");
                return 1;
            }
            bj_kept(L, 1, "client");
            if (!bj_check_client(L, -1)->token) {
                lua_pushliteral(L, "token");
                return 1;
            }
            lua_pop(L, 1);
            start_request(L, c, 1);
            break;
        case PHASE_RUNNING:
            check_process(L, c->engine);
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
    if (c->transfer)
        engine_cancel(c->engine, c->transfer);
    finish(c);
    if (lua_isnil(L, 2)) {
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the call was cancelled");
        lua_replace(L, 2);
    }
    bj_keep(L, 1, "error");
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
    finish(c);
    return 0;
}

void bj_open_call(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", call_step},     {"timeout", call_timeout}, {"result", call_result},     {"cancel", call_cancel},
        {"events", call_events}, {"push", call_push},       {"finish", call_finish},     {"fill", call_fill},
        {"read", call_read},     {"job", call_job},         {"was_sent", call_was_sent}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", call_gc},
        {NULL, NULL},
    };
    bj_new_class(L, CALL_CLASS, methods, meta);
}
