#include "l_call_state.h"

#include "clock.h"
#include "l_event.h"
#include "l_job.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Seconds: the Date header and createdDate both show whole ones. */
static const double CLOCK_STEPS = 2;

const char bj_call_class[] = "bulkjob.call";

struct call *bj_check_call(lua_State *L, int i)
{
    return bj_check_object(L, i, bj_call_class);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void bj_release_call(struct call *c)
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
    download_free(&c->download);
    free(c->piece);
    c->piece = NULL;
    c->piece_len = 0;
    for (size_t i = 0; i < c->secret_count; i++)
        bj_secret_unref(c->secrets[i]);
    free(c->secrets);
    c->secrets = NULL;
    c->secret_count = 0;
    bj_secret_put(&c->token, NULL);
}

void bj_finish_call(lua_State *L, struct call *c, int ci)
{
    bj_release_call(c);
    lua_pushnil(L);
    bj_keep(L, ci, "body");
    if (c->run.verb == VERB_UPLOAD) {
        bj_kept(L, ci, "job");
        lua_pushnil(L);
        bj_set_job_upload(L, -2);
        lua_pop(L, 1);
    }
}

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

void bj_name_job(lua_State *L, int ci)
{
    bj_kept(L, ci, "job");
    if (!lua_isnil(L, -1)) {
        bj_job_id(L, -1);
        lua_setfield(L, -3, "job_id");
    }
    lua_pop(L, 1);
}

void bj_report_request(lua_State *L, const struct call *c, int ci, int error)
{
    if (!c->wants_events)
        return;
    push_events(L, ci);
    bj_push_request_event(L, -1, c->transfer, c->run.sends + (c->run.step == STEP_SEND), error);
    bj_name_job(L, ci);
    lua_pop(L, 2);
}

void bj_report_retry(lua_State *L, const struct call *c, int ci, int error)
{
    if (!c->wants_events)
        return;
    push_events(L, ci);
    bj_push_retry_event(L, -1, c->run.pause, c->run.sends + 1, error);
    bj_name_job(L, ci);
    lua_pop(L, 2);
}

void bj_report_state(lua_State *L, const struct call *c, int ci, enum job_state from, enum job_state to)
{
    if (!c->wants_events || from == to)
        return;
    push_events(L, ci);
    bj_push_state_event(L, -1, from, to);
    bj_name_job(L, ci);
    lua_pop(L, 2);
}

void bj_report_strays(lua_State *L, const struct call *c, int ci)
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
