/* From a step of a verb to the transfer that carries it out. */
#include "l_call.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

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
        bj_push_stray_path(L, ci);
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
    bool ok = c->bare || (buf_add_string(&bearer, "Bearer ") && buf_add_string(&bearer, cl->token) &&
                          transfer_add_header(t, "Authorization", buf_string(&bearer)));
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
    const char *text;
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
        text = lua_tolstring(L, -1, &len);
        source_init_bytes(&t->source, text, len);
        lua_pop(L, 1);
        break;
    case BODY_FILE:
        fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return errno;
        bj_kept(L, ci, "header");
        text = lua_tolstring(L, -1, &len);
        source_init_file(&t->source, fd, c->first, c->size, text, text ? len : 0);
        if (text)
            bj_pin(L, t, -1);
        lua_pop(L, 1);
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
        t->sink.counted = c->counted;
    }
    return 0;
}

void bj_start_request(lua_State *L, struct call *c, int ci)
{
    bj_kept(L, ci, "client");
    struct client *cl = bj_check_client(L, -1);
    const char *method = push_target(L, c, ci); /* client, path */
    if (!c->bare)
        lua_pushfstring(L, "%s/services/data/v%s/%s", cl->base, cl->version, lua_tostring(L, -1));
    else
        lua_pushvalue(L, -1);
    c->tokens = cl->tokens;
    if (!cl->engine)
        cl->engine = bj_engine(L, cl->nice);
    bj_check_process(L, cl->engine);
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
        bj_finish_call(c);
        lua_pop(L, 3);
        return;
    }
    add_headers(L, c, ci, cl);
    c->transfer->bulk =
        c->run.step == STEP_SEND && (c->run.verb == VERB_UPLOAD || c->expect == EXPECT_CSV || c->expect == EXPECT_FILE);
    double total = settings_total_timeout(cl->settings, c->transfer->bulk);
    if (total > 0)
        c->transfer->deadline = clock_now() + total;
    inflow_begin(&c->in);
    c->foreign = false;
    if (!engine_start(c->engine, c->transfer)) {
        bj_finish_call(c); /* nobody will collect it any more */
        bj_raise(L, "bulkjob: the Lua state is being closed");
    }
    lua_pop(L, 3);
    c->sent = true;
    c->phase = PHASE_RUNNING;
}
