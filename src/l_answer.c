#include "l_call.h"

#include "failure.h"
#include "markup.h"
#include "mask.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    WORDS = 400,            /* of an answer, shown in an error */
    WORDS_READ = 64 * 1024, /* looked at for that */
    MESSAGE = 64 * 1024,    /* of the service, kept in an error */
    SHORT_TEXT = 200,       /* a code or a header */
};

/* ---- small pieces ---- */

/* The token with which the request went out: the client may have got another one since. */
static void mask_sent_token(char *text, size_t len, const struct transfer *t)
{
    static const char name[] = "Authorization: Bearer ";
    for (const struct curl_slist *h = t ? t->headers : NULL; h; h = h->next)
        if (strncmp(h->data, name, sizeof name - 1) == 0)
            mask_secret(text, len, h->data + sizeof name - 1, strlen(h->data) - (sizeof name - 1));
}

/* Shorter ones are no secrets, and would leave nothing of the text. */
enum { SHORTEST_SECRET = 4 };

void bj_push_masked(lua_State *L, int call, const char *text, size_t len, size_t most)
{
    size_t n;
    bj_kept(L, call, "client");
    const struct client *c = lua_touserdata(L, -1);
    lua_pop(L, 1);
    char *copy = lua_newuserdata(L, len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (c->token)
        mask_secret(copy, len, c->token, strlen(c->token));
    mask_sent_token(copy, len, ((const struct call *)lua_touserdata(L, call))->transfer);
    bj_kept(L, call, "secrets");
    for (int i = 1; lua_istable(L, -1) && i <= (int)lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        const char *secret = lua_tolstring(L, -1, &n);
        if (secret && n >= SHORTEST_SECRET)
            mask_secret(copy, len, secret, n);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (len > most)
        for (len = most; len > 0 && ((unsigned char)copy[len] & 0xC0) == 0x80;) /* not in the middle of a character */
            len--;
    lua_pushlstring(L, copy, len);
    lua_remove(L, -2);
}

/* Pushes what a text in HTML, or in whatever, says. */
static void push_words(lua_State *L, int call, const char *text, size_t len)
{
    if (len > WORDS_READ)
        len = WORDS_READ;
    char *words = lua_newuserdata(L, len + 2);
    bj_push_masked(L, call, words, markup_words(text, len, words, len + 2), WORDS);
    lua_remove(L, -2);
}

/* Replaces the string on top by what can be shown of it. */
static void mask_top(lua_State *L, int call, size_t most)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (text) {
        bj_push_masked(L, call, text, len, most);
        lua_remove(L, -2);
    }
}

static void push_header(lua_State *L, const struct transfer *t, const char *name)
{
    size_t len;
    const char *value = transfer_header(t, name, &len);
    if (value)
        lua_pushlstring(L, value, len);
    else
        lua_pushnil(L);
}

/* libcurl's name of its error; the ones that users meet. */
static const char *curl_name(CURLcode code)
{
    switch (code) {
#define NAME(n) \
    case n:     \
        return #n
        NAME(CURLE_UNSUPPORTED_PROTOCOL);
        NAME(CURLE_URL_MALFORMAT);
        NAME(CURLE_COULDNT_RESOLVE_PROXY);
        NAME(CURLE_COULDNT_RESOLVE_HOST);
        NAME(CURLE_COULDNT_CONNECT);
        NAME(CURLE_WEIRD_SERVER_REPLY);
        NAME(CURLE_HTTP2);
        NAME(CURLE_HTTP2_STREAM);
        NAME(CURLE_PARTIAL_FILE);
        NAME(CURLE_WRITE_ERROR);
        NAME(CURLE_READ_ERROR);
        NAME(CURLE_OUT_OF_MEMORY);
        NAME(CURLE_OPERATION_TIMEDOUT);
        NAME(CURLE_SSL_CONNECT_ERROR);
        NAME(CURLE_ABORTED_BY_CALLBACK);
        NAME(CURLE_GOT_NOTHING);
        NAME(CURLE_SEND_ERROR);
        NAME(CURLE_RECV_ERROR);
        NAME(CURLE_SSL_CERTPROBLEM);
        NAME(CURLE_SSL_CIPHER);
        NAME(CURLE_PEER_FAILED_VERIFICATION);
        NAME(CURLE_SEND_FAIL_REWIND);
        NAME(CURLE_SSL_CACERT_BADFILE);
        NAME(CURLE_SSL_ISSUER_ERROR);
        NAME(CURLE_PROXY);
#undef NAME
    default:
        return NULL;
    }
}

static void push_curl_name(lua_State *L, CURLcode code)
{
    const char *name = curl_name(code);
    if (name)
        lua_pushstring(L, name);
    else
        lua_pushfstring(L, "CURLE_%d", (int)code);
}

void bj_name_job(lua_State *L, int call)
{
    bj_kept(L, call, "job");
    if (!lua_isnil(L, -1)) {
        lua_getfield(L, -1, "id");
        lua_setfield(L, -3, "job_id");
    }
    lua_pop(L, 1);
}

void bj_describe_error(lua_State *L, int call, const struct transfer *t, const struct verb_run *run)
{
    lua_pushstring(L, t->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, t->url);
    lua_setfield(L, -2, "url");
    if (t->status >= 200) {
        bj_pushinteger(L, t->status);
        lua_setfield(L, -2, "status");
    }
    bj_pushinteger(L, run->sends + (run->step == STEP_SEND));
    lua_setfield(L, -2, "attempts");
    bj_name_job(L, call);
}

static void protocol_error(lua_State *L, struct answer *a, const char *what)
{
    a->outcome = OUTCOME_LOST;
    bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "%s", what);
}

/* ---- no answer ---- */

/* Pushes the error of a transfer that the engine or libcurl ended. */
static void push_failure(lua_State *L, int call, const struct transfer *t, struct answer *a)
{
    const char *text = failure_text(t);
    const char *hint = failure_hint(text);
    char silence[32];
    a->outcome = OUTCOME_BROKEN;
    switch (t->stop) {
    case STOP_CANCELLED:
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the transfer was cancelled");
        return;
    case STOP_NO_MEMORY:
        bj_push_error(L, BJ_ERR_IO, NULL, "not enough memory");
        return;
    case STOP_SOURCE:
        bj_push_error(L, BJ_ERR_IO, NULL, "the file to upload: %s",
                      t->source.error ? strerror(t->source.error) : "it became shorter while it was read");
        return;
    case STOP_SINK:
        if (t->sink.error)
            bj_push_error(L, BJ_ERR_IO, NULL, "the file to save to: %s", strerror(t->sink.error));
        else
            bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "the answer is longer than any that is expected");
        return;
    case STOP_CORRUPT:
        a->outcome = OUTCOME_LOST;
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "the gzip body of the answer is damaged or cut off");
        return;
    case STOP_SILENCE:
        a->outcome = t->request_sent ? OUTCOME_LOST : OUTCOME_NOT_APPLIED;
        snprintf(silence, sizeof silence, "%g", t->settings->timeout);
        bj_push_error(L, BJ_ERR_TIMEOUT, "CURLE_OPERATION_TIMEDOUT", "not a byte in either direction for %s seconds",
                      silence);
        return;
    case STOP_DEADLINE:
        a->outcome = t->request_sent ? OUTCOME_LOST : OUTCOME_NOT_APPLIED;
        snprintf(silence, sizeof silence, "%g", settings_total_timeout(t->settings, false));
        bj_push_error(L, BJ_ERR_TIMEOUT, "CURLE_OPERATION_TIMEDOUT", "it took longer than %s seconds (total_timeout)",
                      silence);
        return;
    case STOP_HEADERS:
        a->outcome = OUTCOME_LOST;
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "the headers of the answer are longer than any that are expected");
        return;
    case STOP_RESEND:
        a->outcome = OUTCOME_LOST;
        bj_push_error(L, BJ_ERR_NETWORK, "CURLE_GOT_NOTHING", "the connection was closed before an answer came");
        return;
    case STOP_NONE:
        break;
    }
    a->outcome = *hint || t->proxy_refused ? OUTCOME_BROKEN : outcome_of(t->code, t->request_sent, t->status, NULL);
    bj_push_masked(L, call, text, strlen(text), MESSAGE);
    push_curl_name(L, t->code);
    bj_push_error(L, t->code == CURLE_OPERATION_TIMEDOUT ? BJ_ERR_TIMEOUT : BJ_ERR_NETWORK, lua_tostring(L, -1), "%s%s",
                  lua_tostring(L, -2), hint);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* ---- refusals ---- */

/* Pushes the string field `name` of the table on top, or nil. */
static void push_text_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* Replaces the decoded body on top by code and message (each may be nil). JSON comes as an array of errors, as a bare
 * one, or as OAuth's object. */
static void split_json_error(lua_State *L)
{
    if (lua_istable(L, -1)) {
        lua_rawgeti(L, -1, 1);
        if (lua_istable(L, -1))
            lua_replace(L, -2);
        else
            lua_pop(L, 1);
        push_text_field(L, "errorCode");
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            push_text_field(L, "error");
        }
        lua_insert(L, -2); /* code, body */
        push_text_field(L, "message");
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            push_text_field(L, "error_description");
        }
        lua_remove(L, -2);
    } else {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_pushnil(L);
    }
}

/* Pushes the content of the first of two XML elements that is there, or nil. */
static void push_element(lua_State *L, const char *text, size_t len, const char *name, const char *other)
{
    size_t n;
    const char *content = markup_element(text, len, name, &n);
    if (!content)
        content = markup_element(text, len, other, &n);
    if (!content) {
        lua_pushnil(L);
        return;
    }
    char *copy = lua_newuserdata(L, n + 1);
    memcpy(copy, content, n);
    lua_pushlstring(L, copy, markup_unescape(copy, n));
    lua_remove(L, -2);
}

/* Pushes code and message of an error body in whatever shape, each a string or nil. */
static void push_code_and_message(lua_State *L, int call, const struct transfer *t)
{
    const char *text = t->sink.kind == SINK_MEMORY ? buf_string(&t->sink.memory) : "";
    size_t len = t->sink.kind == SINK_MEMORY ? t->sink.memory.len : 0;
    size_t at = 0;
    while (at < len && isspace((unsigned char)text[at]))
        at++;
    if (at < len && (text[at] == '{' || text[at] == '[') && bj_json_decode(L, text, len)) {
        split_json_error(L);
        return;
    }
    push_element(L, text, len, "errorCode", "exceptionCode");
    if (!lua_isnil(L, -1)) {
        push_element(L, text, len, "message", "exceptionMessage");
        return;
    }
    push_words(L, call, text, len);
    if (lua_rawlen(L, -1) == 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

static int contains(const char *text, size_t len, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= len; i++)
        if (strncasecmp(text + i, what, n) == 0)
            return 1;
    return 0;
}

/* Two 401s that no new token mends (so jsforce's http-api.ts, which learnt it from users). */
static int is_hopeless(const char *message, size_t len)
{
    return contains(message, len, "not valid for use with the REST API") ||
           contains(message, len, "Connected app is not attached to Agent");
}

static void push_refusal(lua_State *L, int call, const struct transfer *t, struct answer *a)
{
    size_t len = 0;
    push_code_and_message(L, call, t); /* code, message */
    int code_at = lua_gettop(L) - 1;
    mask_top(L, call, MESSAGE);
    lua_insert(L, -2);
    mask_top(L, call, SHORT_TEXT);
    lua_insert(L, -2);
    const char *code = lua_tostring(L, -2);
    a->outcome = outcome_of(t->code, t->request_sent, t->status, code);
    if (a->outcome == OUTCOME_OK)
        a->outcome = OUTCOME_REFUSED; /* an error array in a 2xx */
    a->not_found = t->status == 404;
    a->wrong_state = code && same_code(code, "INVALIDJOBSTATE");
    const char *message = lua_tolstring(L, -1, &len);
    if (message) {
        a->has_contents = contains(message, len, "multiple contents");
        if (a->outcome == OUTCOME_DEAD_TOKEN && is_hopeless(message, len))
            a->outcome = OUTCOME_REFUSED;
    } else if (t->status / 100 == 3) {
        size_t n;
        const char *to = transfer_header(t, "Location", &n);
        /* Behind the question mark a token may stand in some other spelling. */
        for (size_t i = 0; to && i < n; i++)
            if (to[i] == '?' || to[i] == '#')
                n = i;
        bj_push_masked(L, call, to ? to : "", to ? n : 0, SHORT_TEXT);
        lua_pushfstring(L, "redirected to %s, which is not followed: is instance_url right?", lua_tostring(L, -1));
        lua_remove(L, -2);
    } else {
        lua_pushliteral(L, "refused without a word of explanation");
    }
    int is_auth = t->status == 401 || (code && same_code(code, "INVALIDSESSIONID"));
    bj_push_error(L, is_auth ? BJ_ERR_AUTH : BJ_ERR_API, NULL, "");
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, code_at);
    lua_setfield(L, -2, "code");
    push_header(L, t, "Retry-After");
    const char *after = lua_tolstring(L, -1, &len);
    a->retry_after = after ? retry_after_seconds(after, len, time(NULL)) : -1;
    lua_pop(L, 1);
    if (a->retry_after >= 0) {
        lua_pushnumber(L, a->retry_after);
        lua_setfield(L, -2, "retry_after");
    }
}

/* ---- good answers ---- */

/* Is the id on top that of the call's job? 15 characters tell; the last three of 18 are a check on letter case. */
static int is_our_job(lua_State *L, int call, const char *id)
{
    int same = 1;
    bj_kept(L, call, "job");
    if (!lua_isnil(L, -1)) {
        lua_getfield(L, -1, "id");
        same = strncmp(lua_tostring(L, -1), id, 15) == 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return same;
}

static int is_id(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]))
            return 0;
    return len == 15 || len == 18;
}

/* Replaces the decoded body on top by a job info table, or by an error. */
static void check_job_info(lua_State *L, int call, const struct verb_run *run, struct answer *a)
{
    size_t len = 0;
    bj_type_job_info(L, -1);
    lua_getfield(L, -1, "id");
    lua_getfield(L, -2, "state");
    const char *id = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : NULL;
    const char *state = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const char *wrong = NULL;
    a->state = state ? job_state_from(state) : STATE_UNKNOWN;
    if (!id || !is_id(id, len) || !state)
        wrong = "job info was expected, and the answer is a JSON object without id and state";
    else if (run->step != STEP_ABORT_STRAY && !is_our_job(L, call, id))
        wrong = "the answer is about another job";
    else if (run->step == STEP_SEND && ((run->verb == VERB_CLOSE && a->state != STATE_UPLOAD_COMPLETE) ||
                                        (run->verb == VERB_ABORT && a->state != STATE_ABORTED)))
        wrong = "the answer does not show the state that was asked for";
    lua_pop(L, 2);
    if (wrong) {
        lua_pop(L, 1);
        protocol_error(L, a, wrong);
    }
}

static void push_object(lua_State *L, int call, const struct transfer *t, const struct verb_run *run,
                        enum expect expect, struct answer *a)
{
    const struct buf *body = &t->sink.memory;
    if (body->len == 0) {
        protocol_error(L, a, "JSON was expected, and the answer is empty");
        return;
    }
    if (!bj_json_decode(L, body->data, body->len) || !lua_istable(L, -1)) {
        bj_kept(L, call, "secrets");
        if (!lua_isnil(L, -1)) { /* what is broken here may hold a token */
            protocol_error(L, a, "JSON was expected, and the answer is something else");
            return;
        }
        push_words(L, call, body->data, body->len);
        lua_pushfstring(L, "JSON was expected, and the answer reads: %s", lua_tostring(L, -1));
        protocol_error(L, a, lua_tostring(L, -1));
        return;
    }
    lua_rawgeti(L, -1, 1);
    int array = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (array) { /* in theory errors come in a 2xx too */
        push_refusal(L, call, t, a);
        return;
    }
    if (expect == EXPECT_JOB)
        check_job_info(L, call, run, a);
    else
        bj_type_plain(L, -1);
}

/* What the reader of a page of results has to know: { locator =, records = }, as the headers spell them, and the first
 * line of what went to a file as `header`. */
static void push_page_facts(lua_State *L, const struct transfer *t)
{
    lua_createtable(L, 0, 2);
    push_header(L, t, "Sforce-Locator");
    lua_setfield(L, -2, "locator");
    push_header(L, t, "Sforce-NumberOfRecords");
    lua_setfield(L, -2, "records");
    if (t->sink.kind == SINK_FILE) {
        lua_pushlstring(L, buf_string(&t->sink.memory), t->sink.memory.len);
        lua_setfield(L, -2, "header");
    }
}

int bj_answer_is_csv(const struct transfer *t)
{
    size_t len;
    const char *type = transfer_header(t, "Content-Type", &len);
    return !type || !(contains(type, len, "html") || contains(type, len, "json") || contains(type, len, "xml"));
}

static void push_good(lua_State *L, int call, const struct transfer *t, const struct verb_run *run, enum expect expect,
                      struct answer *a)
{
    a->outcome = OUTCOME_OK;
    switch (expect) {
    case EXPECT_NOTHING:
        /* 201 and 204 come without a body. A page for people in its place means that somebody else answered. */
        if (!bj_answer_is_csv(t) && t->sink.memory.len && contains(t->sink.memory.data, t->sink.memory.len, "<html"))
            protocol_error(L, a, "an empty answer was expected, and a page of HTML came");
        else
            lua_pushboolean(L, 1);
        return;
    case EXPECT_CSV:
    case EXPECT_FILE:
        if (!bj_answer_is_csv(t)) {
            push_header(L, t, "Content-Type");
            mask_top(L, call, SHORT_TEXT);
            lua_pushfstring(L, "CSV was expected, and the answer is %s", lua_tostring(L, -1));
            protocol_error(L, a, lua_tostring(L, -1));
        } else {
            push_page_facts(L, t);
        }
        return;
    case EXPECT_JOB:
    case EXPECT_OBJECT:
        push_object(L, call, t, run, expect, a);
        return;
    }
}

void bj_push_answer(lua_State *L, int call, const struct transfer *t, const struct verb_run *run, enum expect expect,
                    struct answer *a)
{
    int top = lua_gettop(L);
    bool csv_refused = expect == EXPECT_CSV && t->status / 100 == 2 && !bj_answer_is_csv(t);
    memset(a, 0, sizeof *a);
    a->retry_after = -1;
    /* A refusal counts even when its body was cut off. */
    if (t->status / 100 >= 3 && t->stop == STOP_NONE)
        push_refusal(L, call, t, a);
    else if ((t->code != CURLE_OK || t->stop != STOP_NONE) && !csv_refused)
        push_failure(L, call, t, a);
    else
        push_good(L, call, t, run, expect, a);
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    if (a->outcome != OUTCOME_OK)
        bj_describe_error(L, call, t, run);
}

/* ---- lists ---- */

double bj_answer_clock(const struct transfer *t)
{
    char text[64];
    size_t len;
    const char *date = transfer_header(t, "Date", &len);
    if (date && len < sizeof text) {
        memcpy(text, date, len);
        text[len] = '\0';
        time_t at = curl_getdate(text, NULL);
        if (at != (time_t)-1)
            return (double)at;
    }
    return (double)time(NULL);
}

/* "2026-03-04T09:15:27.000+0000", always UTC; -1 when it is something else. */
static double parse_date(const char *s)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    if (!s || sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                     &tm.tm_sec) != 6)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (double)timegm(&tm);
}

/* Is field `name` of the record on top the same as that of the spec? Absent and absent are. */
static int same_field(lua_State *L, int spec, const char *name)
{
    lua_getfield(L, -1, name);
    lua_getfield(L, spec, name);
    int same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

int bj_may_be_stray(lua_State *L, int spec, int open_only, double oldest)
{
    static const double rounding = 2; /* both clocks show whole seconds */
    if (!same_field(L, spec, "object") || !same_field(L, spec, "operation") ||
        !same_field(L, spec, "externalIdFieldName"))
        return 0;
    lua_getfield(L, -1, "state");
    const char *state = lua_tostring(L, -1);
    int fits = !open_only || (state && job_state_from(state) == STATE_OPEN);
    lua_pop(L, 1);
    lua_getfield(L, -1, "id");
    size_t len = 0;
    const char *id = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    fits = fits && id && is_id(id, len);
    lua_pop(L, 1);
    lua_getfield(L, -1, "createdDate");
    fits = fits && parse_date(lua_tostring(L, -1)) >= oldest - rounding;
    lua_pop(L, 1);
    return fits;
}

int bj_push_next_page(lua_State *L)
{
    lua_getfield(L, -1, "done");
    int done = lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "nextRecordsUrl");
    const char *url = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const char *at = url ? strstr(url, "queryLocator=") : NULL;
    if (done || !at) {
        lua_pop(L, 1);
        return 0;
    }
    at += strlen("queryLocator=");
    lua_pushlstring(L, at, strcspn(at, "&"));
    lua_remove(L, -2);
    return 1;
}
