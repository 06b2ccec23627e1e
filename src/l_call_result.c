#include "l_call_result.h"

#include "l_error.h"
#include "l_job.h"

#include <string.h>

enum { REASON_BYTES = 4096 };

void bj_keep_error(lua_State *L, int ci, bool first)
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

void bj_set_doubt(lua_State *L, const struct call *c)
{
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "in_doubt");
    bj_add_message(L, "; %s",
                   c->run.verb == VERB_CREATE_FULL ? "it was sent once only, and whether it took effect cannot be known"
                                                   : "whether it took effect is not known");
}

void bj_complete_error(lua_State *L, const struct call *c, int ci)
{
    bj_kept(L, ci, "error");
    bj_pushinteger(L, c->run.sends);
    lua_setfield(L, -2, "attempts");
    if (c->stuck)
        bj_add_message(L, "; %s cannot be read again, so it was not retried", "a source that is a function");
    if (c->run.in_doubt)
        bj_set_doubt(L, c);
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

void bj_explain_state(lua_State *L, const struct call *c, int ci)
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
    if (c->run.gone) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "not_found");
    } else {
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
    bj_job_is_ours(L, info + 2);
    if (c->run.verb == VERB_CREATE_FULL) /* it was filled and closed as well, whatever state the answer shows */
        j->uploaded = j->closes = 1;
    j->lost_creates = c->run.verb == VERB_CREATE ? c->run.lost_sends : 0;
    lua_replace(L, info + 1);
    lua_pushvalue(L, info + 1);
    bj_keep(L, ci, "job");
}

void bj_keep_result(lua_State *L, struct call *c, int ci)
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
        bj_update_job(L, answer + 1, answer); /* answer, job */
        bj_report_state(L, c, ci, before, bj_check_job(L, answer + 1)->state);
        if (created)
            lua_replace(L, answer); /* the result of a create is its job */
        lua_settop(L, answer);
    } else if (c->run.verb == VERB_UPLOAD) {
        bj_kept(L, ci, "job");
        bj_check_job(L, -1)->uploaded = 1;
        lua_pop(L, 1);
    }
    bj_keep(L, ci, "result");
}
