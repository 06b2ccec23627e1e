#include "l_call.h"

#include "clock.h"
#include "l_call_state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CSV_TYPE "text/csv; charset=UTF-8"

struct call *bj_push_call(lua_State *L, enum verb verb, int client, int job, const char *method, enum expect expect)
{
    client = lua_absindex(L, client);
    const struct client *cl = bj_check_client(L, client);
    struct call *c = bj_new_object(L, bj_call_class, sizeof *c); /* path, call */
    double now = clock_now();
    c->request.fd = c->request.sink_fd = -1;
    c->request.method = method;
    c->request.expect = expect;
    c->request.small = verb != VERB_UPLOAD && expect != EXPECT_CSV && expect != EXPECT_FILE;
    c->request.fresh = verb == VERB_CREATE_FULL;
    double seconds = settings_total_timeout(cl->settings, !c->request.small);
    c->request.deadline = seconds > 0 ? now + seconds : -1;
    c->wants_events = cl->wants_events;
    verb_begin(&c->run, verb, &cl->retry, cl->renewable);
    unsigned long long seed = (unsigned long long)(now * 1e9) ^ (unsigned long long)(size_t)c;
    memcpy(c->random_state, &seed, sizeof c->random_state);
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
    struct call *c = bj_check_call(L, i);
    i = lua_absindex(L, i);
    c->request.body = BODY_TEXT;
    c->request.body_type = lua_tostring(L, -1);
    bj_keep(L, i, "body_type");
    c->request.text = lua_tolstring(L, -1, &c->request.len);
    bj_keep(L, i, "body");
}

void bj_call_file(lua_State *L, int i, int fd, off_t first, off_t size)
{
    struct call *c = bj_check_call(L, i);
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

void bj_call_queue(struct call *c)
{
    c->request.body = BODY_QUEUE;
    c->request.body_type = CSV_TYPE;
}

void bj_call_login(lua_State *L, int i)
{
    struct call *c = bj_check_call(L, i);
    size_t n = lua_rawlen(L, -1);
    c->request.login = true;
    c->run.renewable = false;
    c->secrets = calloc(n ? n : 1, sizeof *c->secrets);
    if (!c->secrets)
        bj_no_memory(L);
    c->secret_count = n;
    for (size_t k = 0; k < n; k++) {
        lua_rawgeti(L, -1, (int)k + 1);
        c->secrets[k] = bj_secret_new(L, luaL_checkstring(L, -1));
        if (!c->secrets[k])
            bj_no_memory(L);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void bj_call_spec(lua_State *L, int i)
{
    bj_check_call(L, i);
    bj_keep(L, i, "spec");
}

void bj_call_count(struct call *c, bool query)
{
    c->counted = c->request.counted = true;
    c->of_query = query;
}

void bj_call_header(lua_State *L, int i)
{
    struct call *c = bj_check_call(L, i);
    c->request.header = lua_tolstring(L, -1, &c->request.header_len);
    bj_keep(L, i, "header");
}

void bj_call_sink(lua_State *L, int i, int fd, bool skip_line)
{
    struct call *c = bj_check_call(L, i);
    c->request.sink_fd = fd;
    c->request.sink_base = lseek(fd, 0, SEEK_CUR);
    c->request.skip_line = skip_line;
    c->request.file = lua_tostring(L, -1);
    bj_keep(L, i, "file");
}

void bj_call_cleanup(struct call *c, int tries)
{
    c->cleanup = true;
    if (c->run.policy.tries > tries)
        c->run.policy.tries = tries;
}

void bj_call_seconds(struct call *c, double seconds)
{
    double deadline = clock_now() + seconds;
    if (c->request.deadline < 0 || c->request.deadline > deadline)
        c->request.deadline = deadline;
}
