#include "l_answer.h"

#include "failure.h"
#include "l_error.h"
#include "l_json.h"
#include "l_schema.h"
#include "l_secret.h"
#include "markup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    WORDS = 400,            /* of a response, shown in an error */
    WORDS_READ = 64 * 1024, /* looked at for that */
    MESSAGE = 64 * 1024,    /* of the service, kept in an error */
    SHORT_TEXT = 200,       /* a code or a header */
    ESCAPE_BYTES = 6,       /* the longest escape in JSON: \u0000 */
};

/* ---- small pieces ---- */

/* Pushes what a text in HTML, or in whatever, says; nil for nothing. */
static void push_words(lua_State *L, const char *text, size_t len)
{
    if (len > WORDS_READ)
        len = WORDS_READ;
    char *words = lua_newuserdata(L, len + 2);
    len = markup_words(text, len, words, len + 2);
    if (len)
        bj_push_masked(L, words, len, WORDS);
    else
        lua_pushnil(L);
    lua_remove(L, -2);
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

/* ---- the body ---- */

/* The field `name` of the table at `i` if it is a string, which is pushed, or else nil. With `plain`, a string that
 * holds a NUL is none: what stands before it would be taken for the whole. */
static const char *push_text(lua_State *L, int i, const char *name, bool plain)
{
    i = lua_absindex(L, i);
    lua_getfield(L, i, name);
    if (lua_type(L, -1) == LUA_TSTRING && !(plain && strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1)))
        return lua_tostring(L, -1);
    lua_pop(L, 1);
    lua_pushnil(L);
    return NULL;
}

/* The same for the first of these fields that is there; *which is its number. */
static const char *push_first(lua_State *L, int i, const char *const names[3], bool plain, int *which)
{
    i = lua_absindex(L, i);
    for (*which = 0;; ++*which) {
        const char *text = push_text(L, i, names[*which], plain);
        if (text || *which == 2)
            return text;
        lua_pop(L, 1);
    }
}

/* Decodes JSON, also an error of which only the beginning was read: it was cut in a text, mostly, and can be completed.
 * Pushes the table and answers true, or pushes nothing. */
static bool decode(lua_State *L, const char *text, size_t len, bool cut)
{
    if (bj_json_decode(L, text, len)) {
        if (lua_istable(L, -1))
            return true;
        lua_pop(L, 1);
    }
    for (size_t n = 0; cut && n < ESCAPE_BYTES && n < len; n++) {
        lua_pushlstring(L, text, len - n);
        lua_pushstring(L, text[0] == '[' ? "\"}]" : "\"}");
        lua_concat(L, 2);
        bool good = bj_json_decode(L, lua_tostring(L, -1), lua_rawlen(L, -1));
        lua_remove(L, good ? -2 : -1);
        if (good)
            return true;
    }
    return false;
}

/* Pushes the code and message of an error in the decoded body at `body`, each a string or nil. They come as an array of
 * errors or as a bare one (the guide and the REST guide), and from a token endpoint in OAuth's form (RFC 6749, 5.2):
 * from anywhere else that one is a proxy's, not the service's. */
static void push_json_error(lua_State *L, int body, bool login, struct reply *r)
{
    static const char *const codes[] = {"errorCode", "exceptionCode", "error"};
    static const char *const messages[] = {"message", "exceptionMessage", "error_description"};
    int top = lua_gettop(L);
    int which;
    lua_rawgeti(L, body, 1);
    bool array = lua_istable(L, -1);
    int error = array ? top + 1 : body;
    const char *code = push_first(L, error, codes, true, &which);
    bool ours = code && (which < 2 || login);
    const char *message = push_first(L, error, messages, false, &which);
    lua_remove(L, top + 1);
    if (ours || (array && message)) {
        r->form = FORM_ERROR;
        r->code = code;
        r->message = message;
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
    bj_push_masked(L, copy, markup_unescape(copy, n), MESSAGE);
    lua_remove(L, -2);
}

/* Pushes what a body that is no JSON gives for a code and a message, for people to read. */
static void push_other_words(lua_State *L, const char *text, size_t len)
{
    push_element(L, text, len, "errorCode", "exceptionCode");
    if (lua_isnil(L, -1))
        push_words(L, text, len);
    else
        push_element(L, text, len, "message", "exceptionMessage");
}

void bj_push_reply(lua_State *L, const struct transfer *t, enum expect expect, bool login, struct reply *r)
{
    bool in_memory = t->sink.kind == SINK_MEMORY;
    const char *text = in_memory ? buf_string(&t->sink.memory) : "";
    size_t len = in_memory ? t->sink.memory.len : 0;
    size_t n;
    const char *after = transfer_header(t, "Retry-After", &n);
    r->retry_after = -1;
    if (after) {
        double now = response_date(t); /* a moment that it names is one on its own clock */
        r->retry_after = retry_after_seconds(after, n, now < 0 ? time(NULL) : (time_t)now);
    }
    while (len && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    r->form = len ? FORM_OTHER : FORM_EMPTY;
    if (!len || (*text != '{' && *text != '[') || !decode(L, text, len, t->status / 100 != 2)) {
        lua_pushnil(L);
        push_other_words(L, text, len);
        return;
    }
    int body = lua_gettop(L);
    push_json_error(L, body, login, r);
    if (r->form == FORM_ERROR)
        return;
    lua_rawgeti(L, body, 1);
    if (lua_isnil(L, -1))
        r->form = FORM_OBJECT;
    lua_pop(L, 1);
    if (r->form != FORM_OBJECT)
        return;
    if (expect != EXPECT_JOB) {
        bj_type_plain(L, body);
        return;
    }
    bj_type_job_info(L, body);
    r->id = push_text(L, body, "id", true); /* both stay in the body */
    r->state = push_text(L, body, "state", true);
    lua_pop(L, 2);
}

/* ---- good ones ---- */

/* What the reader of a page of results has to know: { locator =, records = }, as the headers spell them, how many rows
 * were counted, and the first line of what went to a file as `header`. */
static void push_page_facts(lua_State *L, const struct transfer *t, const struct reply *r)
{
    lua_createtable(L, 0, 4);
    push_header(L, t, "Sforce-Locator");
    lua_setfield(L, -2, "locator");
    push_header(L, t, "Sforce-NumberOfRecords");
    lua_setfield(L, -2, "records");
    if (r->counted) {
        bj_pushinteger(L, (long long)r->rows);
        lua_setfield(L, -2, "rows");
    }
    if (t->sink.kind == SINK_FILE) {
        lua_pushlstring(L, buf_string(&t->sink.memory), t->sink.memory.len);
        lua_setfield(L, -2, "header");
    }
}

void bj_push_result(lua_State *L, const struct transfer *t, enum expect expect, const struct reply *r, int reply)
{
    switch (expect) {
    case EXPECT_NOTHING:
        lua_pushboolean(L, 1);
        return;
    case EXPECT_CSV:
    case EXPECT_FILE:
        push_page_facts(L, t, r);
        return;
    case EXPECT_JOB:
    case EXPECT_OBJECT:
        lua_pushvalue(L, reply);
        return;
    }
}

/* ---- errors ---- */

static void protocol_error(lua_State *L, const char *what)
{
    bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "%s", what);
}

static void push_source_failure(lua_State *L, const struct source *s)
{
    const char *path = s->path ? s->path : "the data to upload";
    switch (s->failure) {
    case SOURCE_UNREADABLE:
        bj_push_error(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(s->error));
        return;
    case SOURCE_SHORTER:
        bj_push_error(L, BJ_ERR_IO, BJ_CODE_CHANGED, "%s: it became shorter while it was read", path);
        return;
    case SOURCE_CHANGED:
        bj_push_error(L, BJ_ERR_IO, BJ_CODE_CHANGED, "%s: it was changed since it was checked", path);
        return;
    }
}

/* Pushes the error of a transfer that the engine or libcurl ended. */
static void push_failure(lua_State *L, const struct transfer *t)
{
    const char *text = failure_text(t);
    char seconds[32];
    switch (t->stop) {
    case STOP_CANCELLED:
        bj_push_error(L, BJ_ERR_CANCELLED, NULL, "the transfer was cancelled");
        return;
    case STOP_NO_MEMORY:
        bj_push_error(L, BJ_ERR_IO, NULL, "not enough memory");
        return;
    case STOP_SOURCE:
        push_source_failure(L, &t->source);
        return;
    case STOP_SINK:
        if (t->sink.error)
            bj_push_error(L, BJ_ERR_IO, NULL, "%s: %s", t->sink.path ? t->sink.path : "the file to save to",
                          strerror(t->sink.error));
        else
            protocol_error(L, "the response is longer than any that is expected");
        return;
    case STOP_CORRUPT:
        protocol_error(L, "the gzip body of the response is damaged or cut off");
        return;
    case STOP_PACKING:
        push_header(L, t, "Content-Encoding");
        bj_mask_top(L, SHORT_TEXT);
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "the response is encoded as '%s', which was not asked for",
                      lua_tostring(L, -1));
        lua_remove(L, -2);
        return;
    case STOP_SILENCE:
        snprintf(seconds, sizeof seconds, "%g", t->settings->timeout);
        bj_push_error(L, BJ_ERR_TIMEOUT, "CURLE_OPERATION_TIMEDOUT", "not a byte in either direction for %s seconds",
                      seconds);
        return;
    case STOP_DEADLINE:
        bj_push_error(L, BJ_ERR_TIMEOUT, "CURLE_OPERATION_TIMEDOUT",
                      "the call took longer than it may (total_timeout)");
        return;
    case STOP_HEADERS:
        protocol_error(L, "the headers of the response are longer than any that are expected");
        return;
    case STOP_RESEND:
        bj_push_error(L, BJ_ERR_NETWORK, "CURLE_GOT_NOTHING", "the connection was closed before a response came");
        return;
    case STOP_NONE:
        break;
    }
    push_curl_name(L, failure_code(t));
    bj_push_error(L, t->code == CURLE_OPERATION_TIMEDOUT ? BJ_ERR_TIMEOUT : BJ_ERR_NETWORK, lua_tostring(L, -1), "%s%s",
                  text, failure_hint(text));
    lua_remove(L, -2);
}

/* Pushes where a response redirects to, and answers true; or pushes nothing. */
static bool push_redirection(lua_State *L, const struct transfer *t)
{
    size_t n;
    const char *to = t->status / 100 == 3 ? transfer_header(t, "Location", &n) : NULL;
    if (!to)
        return false;
    /* Behind the question mark a token may stand in some other spelling. */
    for (size_t i = 0; i < n; i++)
        if (to[i] == '?' || to[i] == '#')
            n = i;
    bj_push_masked(L, to, n, SHORT_TEXT);
    lua_pushfstring(L, "redirected to %s, which is not followed: is the URL of the org right?", lua_tostring(L, -1));
    lua_remove(L, -2);
    return true;
}

static void push_refusal(lua_State *L, const struct transfer *t, const struct reply *r, int reply)
{
    const char *code = lua_tostring(L, reply + 1);
    bj_push_error(L, is_auth_refusal(t->status, code) ? BJ_ERR_AUTH : BJ_ERR_API, NULL, "");
    /* A page that comes with a redirection says no more than "moved". */
    if (r->form == FORM_ERROR || !push_redirection(L, t)) {
        if (lua_isnil(L, reply + 2))
            lua_pushliteral(L, "refused without any explanation");
        else
            lua_pushvalue(L, reply + 2);
    }
    bj_mask_top(L, MESSAGE);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, reply + 1);
    bj_mask_top(L, SHORT_TEXT);
    lua_setfield(L, -2, "code");
    if (r->retry_after >= 0) {
        lua_pushnumber(L, r->retry_after);
        lua_setfield(L, -2, "retry_after");
    }
}

/* `what`, and how the response reads, unless it may hold a token. */
static void push_reads(lua_State *L, const char *what, const struct transfer *t, bool login, int reply)
{
    if (!login && lua_isnil(L, reply + 2) && t->sink.kind == SINK_MEMORY)
        push_words(L, buf_string(&t->sink.memory), t->sink.memory.len);
    else
        lua_pushvalue(L, login ? reply : reply + 2);
    if (!login && lua_type(L, -1) == LUA_TSTRING)
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "%s reads: %s", what, lua_tostring(L, -1));
    else
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "%s is something else", what);
    lua_remove(L, -2);
}

static void push_row_count(lua_State *L, const struct transfer *t, const struct reply *r)
{
    push_header(L, t, "Sforce-NumberOfRecords");
    bj_pushinteger(L, (long long)r->rows);
    bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "a page of results holds %s rows, and Sforce-NumberOfRecords says %s",
                  lua_tostring(L, -1), lua_tostring(L, -2));
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void bj_push_fault(lua_State *L, enum fault fault, const struct transfer *t, bool login, const struct reply *r,
                   int reply)
{
    switch (fault) {
    case FAULT_NONE:
    case FAULT_TRANSFER:
        push_failure(L, t);
        break;
    case FAULT_REFUSED:
        push_refusal(L, t, r, reply);
        break;
    case FAULT_EMPTY:
        protocol_error(L, "JSON was expected, and the response is empty");
        break;
    case FAULT_NO_JSON:
        push_reads(L, "JSON was expected, and the response", t, login, reply);
        break;
    case FAULT_NO_JOB:
        protocol_error(L, "job info was expected, and the response is a JSON object without id and state");
        break;
    case FAULT_OTHER_JOB:
        protocol_error(L, "the response is about another job");
        break;
    case FAULT_OTHER_STATE:
        protocol_error(L, "the response does not show the state that was asked for");
        break;
    case FAULT_NO_CSV:
        push_header(L, t, "Content-Type");
        bj_mask_top(L, SHORT_TEXT);
        bj_push_error(L, BJ_ERR_PROTOCOL, NULL, "CSV was expected, and the response is %s", lua_tostring(L, -1));
        lua_remove(L, -2);
        break;
    case FAULT_UNEXPECTED:
        if (t->status == 206) {
            protocol_error(L, "the response is a part, and nobody asked for parts");
            break;
        }
        push_reads(L, "an empty response was expected, and this one", t, login, reply);
        break;
    case FAULT_EARLY:
        protocol_error(L, "the response came before all of the request had been sent");
        break;
    case FAULT_DIFFERS:
        protocol_error(L, "the download broke, and what came at the second try is not the same as at the first");
        break;
    case FAULT_CORRUPT:
        protocol_error(L, "the gzip body of the response is damaged or cut off");
        break;
    case FAULT_NO_LOCATOR:
        protocol_error(L, "a page of results came without the Sforce-Locator header");
        break;
    case FAULT_COLUMNS:
        protocol_error(L, "a page of results has other columns than the page before it");
        break;
    case FAULT_QUOTE:
        bj_push_error(L, BJ_ERR_CSV, NULL, "a page of results has a quote where none may be");
        break;
    case FAULT_ROWS_CUT:
        protocol_error(L, "a page of results ends in the middle of a row");
        break;
    case FAULT_ROWS_DIFFER:
        push_row_count(L, t, r);
        break;
    }
}

void bj_describe_quote(lua_State *L, const struct csv_count *count)
{
    char text[128];
    snprintf(text, sizeof text, "row %llu, byte %llu: a page of results has a quote where none may be", count->bad_row,
             count->bad_quote);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "message");
    bj_pushinteger(L, (long long)count->bad_row);
    lua_setfield(L, -2, "row");
    bj_pushinteger(L, (long long)count->bad_quote);
    lua_setfield(L, -2, "byte");
}
