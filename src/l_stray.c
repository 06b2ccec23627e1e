/* Jobs that creates with lost answers may have left: found in the list, and rolled back if they are surely ours. */
#include "l_call.h"

#include "clock.h"

/* Does this program hold the job on top? `jobs` is the client's table of those. */
static int is_held(lua_State *L, int jobs)
{
    lua_getfield(L, -1, "id");
    lua_rawget(L, jobs);
    int held = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return held;
}

/* Adds the jobs of the page on top that this create may have made. Each walk through the list begins anew. */
static void gather_page(lua_State *L, struct call *c, int ci)
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
        if (bj_may_be_stray(L, strays + 1, c->run.verb == VERB_CREATE, oldest) && !is_held(L, strays + 2))
            lua_rawseti(L, strays, (int)lua_rawlen(L, strays) + 1);
        else
            lua_pop(L, 1);
    }
    lua_settop(L, page);
}

int bj_gather_strays(lua_State *L, struct call *c, int ci)
{
    gather_page(L, c, ci);
    int more = bj_push_next_page(L);
    if (more) {
        lua_pushfstring(L, "jobs/ingest?jobType=V2Ingest&queryLocator=%s", lua_tostring(L, -1));
        lua_remove(L, -2);
    } else {
        lua_pushnil(L);
    }
    bj_keep(L, ci, "list_path");
    return more;
}

void bj_push_stray_path(lua_State *L, int ci)
{
    bj_kept(L, ci, "strays");
    lua_rawgeti(L, -1, (int)lua_rawlen(L, -1));
    lua_getfield(L, -1, "id");
    lua_pushfstring(L, "jobs/ingest/%s", lua_tostring(L, -1));
    lua_replace(L, -4);
    lua_pop(L, 2);
}

/* Tells of a job that is or was a stray. Its table is on top. */
static void report_stray(lua_State *L, int ci, int aborted)
{
    lua_getfield(L, -1, "id");
    if (bj_push_event(L, ci, "stray")) { /* stray, id, event */
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "job_id");
        lua_pushboolean(L, aborted);
        lua_setfield(L, -2, "aborted");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Does the client on top have another create under way? What looks like our stray may be that one's job. */
static bool creates_another(lua_State *L, const struct call *c)
{
    bool another = false;
    bj_kept(L, -1, "calls");
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* calls, call, true */
        const struct call *other = lua_touserdata(L, -2);
        another =
            another || (other != c && other->run.verb == VERB_CREATE && other->phase != PHASE_DONE && other->sent);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return another;
}

int bj_sort_strays(lua_State *L, struct call *c, int ci)
{
    int top = lua_gettop(L);
    bj_kept(L, ci, "strays");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    bj_kept(L, ci, "client");
    bool alone = !creates_another(L, c);
    bj_kept(L, -1, "user_id");
    lua_insert(L, -2);
    bj_kept(L, -1, "jobs");
    lua_replace(L, -2); /* strays, user, jobs */
    lua_newtable(L);    /* strays, user, jobs, ours */
    for (int i = 1; i <= (int)lua_rawlen(L, top + 1); i++) {
        lua_rawgeti(L, top + 1, i);
        lua_getfield(L, -1, "createdById");
        int foreign = !lua_isnil(L, top + 2) && !lua_rawequal(L, -1, top + 2);
        lua_pop(L, 1);
        /* Another create of this program may have got its answer since the list was read. */
        if (!foreign && !is_held(L, top + 3))
            lua_rawseti(L, top + 4, (int)lua_rawlen(L, top + 4) + 1);
        else
            lua_pop(L, 1);
    }
    int count = (int)lua_rawlen(L, top + 4);
    bool certain = !lua_isnil(L, top + 2) && count <= c->lost_sends && c->run.verb == VERB_CREATE && alone;
    if (certain) {
        bj_keep(L, ci, "strays");
    } else {
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, top + 4, i);
            report_stray(L, ci, 0);
            lua_pop(L, 1);
        }
        if (count)
            bj_keep(L, ci, "doubtful");
        lua_pushnil(L);
        bj_keep(L, ci, "strays");
    }
    lua_settop(L, top);
    return certain ? count : 0;
}

void bj_drop_stray(lua_State *L, int ci, int error)
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

void bj_name_strays(lua_State *L, int ci)
{
    bj_kept(L, ci, "doubtful");
    if (lua_istable(L, -1)) {
        int error = lua_gettop(L) - 1;
        lua_newtable(L); /* error, doubtful, ids */
        for (int i = 1; i <= (int)lua_rawlen(L, error + 1); i++) {
            lua_rawgeti(L, error + 1, i);
            lua_getfield(L, -1, "id");
            lua_pushvalue(L, error);
            bj_add_message(L, i == 1 ? "; this may have made job %s" : ", %s", lua_tostring(L, -2));
            lua_pop(L, 1);
            lua_rawseti(L, error + 2, i);
            lua_pop(L, 1);
        }
        lua_setfield(L, error, "strays");
    }
    lua_pop(L, 1);
}
