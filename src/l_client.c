/* core.client: one org, how to reach it and who asks. Makes no request. */
#include "l_client.h"

#include "channel.h"
#include "clock.h"
#include "l_channel.h"
#include "l_open.h"
#include "version.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char CLIENT_CLASS[] = "bulkjob.client";

/* A real one has some hundred bytes, up to some thousand as a JWT; servers take no header of more than this. */
enum { TOKEN_MAX = 32 * 1024 };

static struct client *to_client(lua_State *L, int i)
{
    return bj_check_object(L, i, CLIENT_CLASS);
}

struct client *bj_check_client(lua_State *L, int i)
{
    struct client *c = to_client(L, i);
    if (c->closed)
        bj_raise(L, "bulkjob: this client is closed");
    return c;
}

static void copy(lua_State *L, char **field, const char *value)
{
    if (!settings_set(field, value))
        bj_no_memory(L);
}

static void set_token_text(lua_State *L, struct client *c, const char *token)
{
    if (strlen(token) > TOKEN_MAX)
        bj_misuse(L, "bulkjob.client: the token has %d bytes, and %d are the most that go into a header",
                  (int)strlen(token), TOKEN_MAX);
    struct secret *s = bj_secret_new(L, token);
    if (!s)
        bj_no_memory(L);
    bj_secret_put(&c->token_before, c->token);
    c->token = s;
}

/* ---- options ---- */

enum option_type { OPTION_STRING, OPTION_SECONDS, OPTION_COUNT, OPTION_BOOLEAN, OPTION_OTHER };

struct option {
    const char *name;
    enum option_type type;
    size_t field; /* offset in struct settings; not for OPTION_OTHER */
};

#define SETTING(name) offsetof(struct settings, name)

static const struct option options[] = {
    {"timeout", OPTION_SECONDS, SETTING(timeout)},
    {"connect_timeout", OPTION_SECONDS, SETTING(connect_timeout)},
    {"total_timeout", OPTION_SECONDS, SETTING(total_timeout)},
    {"max_connections", OPTION_COUNT, SETTING(max_connections)},
    {"insecure", OPTION_BOOLEAN, SETTING(insecure)},
    {"compress", OPTION_BOOLEAN, SETTING(compress)},
    {"proxy", OPTION_STRING, SETTING(proxy)},
    {"no_proxy", OPTION_STRING, SETTING(no_proxy)},
    {"ca_file", OPTION_STRING, SETTING(ca_file)},
    {"ca_path", OPTION_STRING, SETTING(ca_path)},
    {"client_cert", OPTION_STRING, SETTING(client_cert)},
    {"client_key", OPTION_STRING, SETTING(client_key)},
    {"user_agent", OPTION_STRING, SETTING(user_agent)},
    {"instance_url", OPTION_OTHER, 0},
    {"access_token", OPTION_OTHER, 0},
    {"auth", OPTION_OTHER, 0},
    {"api_version", OPTION_OTHER, 0},
    {"retry", OPTION_OTHER, 0},
    {"nice", OPTION_OTHER, 0},
    {"loop", OPTION_OTHER, 0},
    {"on_event", OPTION_OTHER, 0},
};

enum { OPTIONS = sizeof options / sizeof options[0] };

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

_Noreturn static void expected(lua_State *L, const char *name, const char *what)
{
    bj_misuse(L, "bulkjob.client: option '%s': %s expected, got %s", name, what, luaL_typename(L, -1));
}

/* A string that can stand in a header line or a path: no line break, no NUL. */
static const char *plain_string(lua_State *L, const char *name)
{
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING)
        expected(L, name, "string");
    const char *s = lua_tolstring(L, -1, &len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
            bj_misuse(L, "bulkjob.client: option '%s' holds a control character (byte %d)", name, (int)i + 1);
    if (len == 0)
        bj_misuse(L, "bulkjob.client: option '%s' is empty", name);
    return s;
}

/* The number as the user wrote it: lua_pushfstring makes 1.0 of 1 in Lua 5.3 and newer. Returns `text`. */
static const char *plain_number(char text[32], double n)
{
    snprintf(text, 32, "%.14g", n);
    return text;
}

static double positive(lua_State *L, const char *name, double least)
{
    char bound[32], given[32];
    if (lua_type(L, -1) != LUA_TNUMBER)
        expected(L, name, "number");
    double n = lua_tonumber(L, -1);
    if (!(n >= least) || n > 1e6)
        bj_misuse(L, "bulkjob.client: option '%s' must be from %s to 1000000, not %s", name, plain_number(bound, least),
                  plain_number(given, n));
    return n;
}

static double whole(lua_State *L, const char *name, double least)
{
    char given[32];
    double n = positive(L, name, least);
    if (n != floor(n))
        bj_misuse(L, "bulkjob.client: option '%s' must be a whole number, not %s", name, plain_number(given, n));
    return n;
}

/* The value on top of the stack into the settings. */
static void set_option(lua_State *L, struct settings *s, const struct option *o)
{
    void *field = (char *)s + o->field;
    switch (o->type) {
    case OPTION_STRING:
        copy(L, field, plain_string(L, o->name));
        break;
    case OPTION_SECONDS:
        *(double *)field = positive(L, o->name, 0.001);
        break;
    case OPTION_COUNT:
        *(long *)field = (long)whole(L, o->name, 1);
        break;
    case OPTION_BOOLEAN:
        if (!lua_isboolean(L, -1))
            expected(L, o->name, "boolean");
        *(bool *)field = lua_toboolean(L, -1);
        break;
    case OPTION_OTHER:
        break;
    }
}

/* Does host[:port], so long, name this machine? */
static int is_loopback(const char *host, size_t len)
{
    const char *bracket = host[0] == '[' ? memchr(host, ']', len) : NULL;
    const char *end = bracket ? bracket + 1 : memchr(host, ':', len);
    size_t n = end ? (size_t)(end - host) : len;
    if (n < len && host[n] != ':')
        return 0;
    if (strncmp(host, "127.", 4) == 0)
        return strspn(host, "0123456789.") == n;
    return (n == 9 && strncasecmp(host, "localhost", 9) == 0) || (n == 5 && strncmp(host, "[::1]", 5) == 0);
}

size_t bj_check_origin(lua_State *L, const struct client *c, const char *name, const char *url)
{
    size_t n = strlen(url);
    int https = strncasecmp(url, "https://", 8) == 0;
    int http = strncasecmp(url, "http://", 7) == 0;
    const char *host = url + (https ? 8 : 7);
    while (n > 0 && url[n - 1] == '/')
        n--;
    if (!https && !http)
        bj_misuse(L, "bulkjob.client: %s: an https:// URL expected, such as https://acme.my.salesforce.com", name);
    if (url + n <= host || strcspn(host, "/?#@ \\") < (size_t)(url + n - host))
        bj_misuse(L, "bulkjob.client: %s: only scheme and host expected, such as https://acme.my.salesforce.com", name);
    const char *port = memchr(host, ']', (size_t)(url + n - host)); /* behind the address of IPv6 */
    port = strchr(port ? port : host, ':');
    if (port && port < url + n &&
        (port + 1 == url + n || strspn(port + 1, "0123456789") != (size_t)(url + n - port - 1)))
        bj_misuse(L, "bulkjob.client: %s: a port number expected behind the colon", name);
    if (http && !c->settings->insecure && !is_loopback(host, (size_t)(url + n - host)))
        luaL_error(
            L, "bulkjob.client: %s: http would send the token in the clear; use https, or insecure = true if you must",
            name);
    return n;
}

static void set_base(lua_State *L, struct client *c, const char *url)
{
    size_t n = bj_check_origin(L, c, "instance_url", url);
    copy(L, &c->base, url);
    c->base[n] = '\0';
}

static void set_version(lua_State *L, struct client *c)
{
    const char *v = plain_string(L, "api_version");
    size_t whole = strspn(v, "0123456789");
    if (whole == 0 || v[whole] != '.' || !isdigit((unsigned char)v[whole + 1]) || v[whole + 2] != '\0')
        bj_misuse(L, "bulkjob.client: option 'api_version': a string such as \"66.0\" expected, got \"%s\"", v);
    copy(L, &c->version, v);
}

static void set_retry(lua_State *L, struct client *c)
{
    if (!lua_istable(L, -1))
        expected(L, "retry", "table");
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* …, retry, key, value */
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(key, "tries") == 0)
            c->retry.tries = (int)whole(L, "retry.tries", 1);
        else if (strcmp(key, "base") == 0)
            c->retry.base = positive(L, "retry.base", 0);
        else if (strcmp(key, "cap") == 0)
            c->retry.cap = positive(L, "retry.cap", 0);
        else
            bj_misuse(L, "bulkjob.client: unknown option 'retry.%s' (tries, base and cap are known)", key);
        lua_pop(L, 1);
    }
}

/* nginx answers many while one uploads: measured, a nice engine lets its other requests through at once, and is as
 * fast.
 */
static int default_nice(lua_State *L)
{
    bj_push_host(L, "ngx");
    int in_nginx = lua_istable(L, -1);
    lua_pop(L, 1);
    return in_nginx ? 10 : 0;
}

/* The options that are no plain setting; the table is at 1, the client at 2. */
static void set_others(lua_State *L, struct client *c)
{
    lua_getfield(L, 1, "api_version");
    if (lua_isnil(L, -1))
        copy(L, &c->version, "66.0");
    else
        set_version(L, c);
    lua_getfield(L, 1, "retry");
    if (!lua_isnil(L, -1))
        set_retry(L, c);
    lua_getfield(L, 1, "nice");
    if (!lua_isnil(L, -1))
        c->nice = (int)whole(L, "nice", 0);
    else
        c->nice = default_nice(L);
    lua_getfield(L, 1, "auth");
    if (!lua_isnil(L, -1) && !lua_isfunction(L, -1))
        expected(L, "auth", "function");
    c->renewable = !lua_isnil(L, -1);
    bj_keep(L, 2, "auth");
    lua_getfield(L, 1, "on_event");
    if (!lua_isnil(L, -1) && !lua_isfunction(L, -1))
        expected(L, "on_event", "function");
    c->wants_events = !lua_isnil(L, -1);
    bj_keep(L, 2, "on_event");
    lua_getfield(L, 1, "loop");
    if (!lua_isnil(L, -1) && !lua_isfunction(L, -1))
        expected(L, "loop", "function");
    bj_keep(L, 2, "loop");
    lua_getfield(L, 1, "instance_url");
    if (!lua_isnil(L, -1))
        set_base(L, c, plain_string(L, "instance_url"));
    else if (!c->renewable)
        bj_misuse(L, "bulkjob.client: instance_url is missing, such as https://acme.my.salesforce.com");
    lua_getfield(L, 1, "access_token");
    if (!lua_isnil(L, -1))
        set_token_text(L, c, plain_string(L, "access_token"));
    else if (!c->renewable)
        bj_misuse(L, "bulkjob.client: access_token or auth is missing");
    lua_settop(L, 2);
}

static void set_options(lua_State *L, struct client *c)
{
    lua_pushnil(L);
    while (lua_next(L, 1)) { /* options, client, key, value */
        if (lua_type(L, -2) != LUA_TSTRING)
            bj_misuse(L, "bulkjob.client: unknown option (a %s key)", luaL_typename(L, -2));
        const struct option *o = find_option(lua_tostring(L, -2));
        if (!o)
            bj_misuse(L, "bulkjob.client: unknown option '%s'", lua_tostring(L, -2));
        set_option(L, c->settings, o);
        lua_pop(L, 1);
    }
    if (!c->settings->user_agent)
        copy(L, &c->settings->user_agent, "bulkjob/" BJ_VERSION);
    set_others(L, c);
}

/* core.client(options) -> client; raises for wrong options */
static int new_client(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct client *c = bj_new_object(L, CLIENT_CLASS, sizeof *c);
    c->retry = retry_default;
    c->settings = settings_new();
    if (!c->settings)
        bj_no_memory(L);
    set_options(L, c);
    /* Calls under way, as long as somebody holds them. */
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    bj_keep(L, 2, "calls");
    return 1;
}

/* ---- life ---- */

void bj_client_add_call(lua_State *L, int i)
{
    bj_kept(L, i, "calls");
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int client_gc(lua_State *L)
{
    struct client *c = to_client(L, 1);
    c->closed = 1;
    bj_secret_put(&c->token, NULL);
    bj_secret_put(&c->token_before, NULL);
    free(c->base);
    c->base = NULL;
    free(c->version);
    c->version = NULL;
    settings_unref(c->settings);
    c->settings = NULL;
    if (c->engine)
        engine_unref(c->engine);
    c->engine = NULL;
    c->idle = 0;
    channel_unref(c->task_channel);
    c->task_channel = NULL;
    return 0;
}

/* client:close(): ends the transfers under way and frees what the client holds. Twice is harmless. */
static int client_close(lua_State *L)
{
    struct client *c = to_client(L, 1);
    if (c->closed)
        return 0;
    lua_settop(L, 1);
    bj_kept(L, 1, "calls");
    lua_pushnil(L);
    while (lua_next(L, 2)) { /* client, calls, call, true */
        lua_getfield(L, 3, "cancel");
        lua_pushvalue(L, 3);
        lua_call(L, 1, 0);
        lua_pop(L, 1);
    }
    return client_gc(L);
}

static int client_tostring(lua_State *L)
{
    const struct client *c = to_client(L, 1);
    if (c->closed)
        lua_pushfstring(L, "%s (closed)", CLIENT_CLASS);
    else
        lua_pushfstring(L, "%s %s (API %s)", CLIENT_CLASS, c->base ? c->base : "(not signed in)", c->version);
    return 1;
}

/* core.set_token(client, token [, instance_url]): what the auth source gave */
static int set_token(lua_State *L)
{
    struct client *c = bj_check_client(L, 1);
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    const char *token = plain_string(L, "auth (its token)");
    if (!lua_isnil(L, 3)) {
        lua_pushvalue(L, 3);
        set_base(L, c, plain_string(L, "auth (its instance URL)"));
    }
    if (!c->base)
        return luaL_error(L, "bulkjob.client: neither instance_url nor the auth source says where the org is");
    set_token_text(L, c, token);
    return 0;
}

/* core.token(client) -> the token in use, or nil: for the auth source, which must not give an expired one again */
static int token_of(lua_State *L)
{
    const struct secret *token = bj_check_client(L, 1)->token;
    lua_pushstring(L, token ? token->text : NULL);
    return 1;
}

/* core.client_option(client, name) -> the auth, on_event or loop given, the tasks, or nil */
static int client_option(lua_State *L)
{
    to_client(L, 1);
    bj_kept(L, 1, luaL_checkstring(L, 2));
    return 1;
}

/* core.org(client) -> the instance URL, or nil as long as nobody has told */
static int org(lua_State *L)
{
    lua_pushstring(L, bj_check_client(L, 1)->base);
    return 1;
}

/* core.api_version(client) -> "66.0" */
static int api_version(lua_State *L)
{
    lua_pushstring(L, bj_check_client(L, 1)->version);
    return 1;
}

/* core.set_tasks(client, tasks, channel): what the Lua half keeps for it, and where its news come. Once. */
static int set_tasks(lua_State *L)
{
    struct client *c = bj_check_client(L, 1);
    struct channel *task_channel = bj_check_channel(L, 3);
    lua_settop(L, 2);
    bj_keep(L, 1, "tasks");
    c->task_channel = channel_ref(task_channel);
    return 0;
}

/* core.set_idle(client, tasks): so many tasks are there, and none of them can go on before there is news, or
 * core.set_busy */
static int set_idle(lua_State *L)
{
    struct client *c = to_client(L, 1); /* perhaps closed, by one of its tasks */
    c->tasks = (int)luaL_checknumber(L, 2);
    c->idle = c->task_channel != NULL;
    return 0;
}

/* core.set_busy(client): a task can go on */
static int set_busy(lua_State *L)
{
    to_client(L, 1)->idle = 0;
    return 0;
}

/* core.idle(client) -> the number of its tasks, as long as none of them can move. What a game asks in nearly every
 * frame, when all that it looks at has left the cache: so it looks at little, and not for its class by name. */
static int idle(lua_State *L)
{
    const struct client *c = lua_touserdata(L, 1);
    if (!c || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1)) || !c->idle ||
        atomic_load_explicit(&c->task_channel->news, memory_order_acquire) != 0)
        return 0;
    bj_pushinteger(L, c->tasks);
    return 1;
}

void bj_open_client(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", client_close},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", client_gc},
        {"__tostring", client_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"client", new_client},       {"set_token", set_token},
        {"token", token_of},          {"client_option", client_option},
        {"set_tasks", set_tasks},     {"set_idle", set_idle},
        {"set_busy", set_busy},       {"org", org},
        {"api_version", api_version}, {NULL, NULL},
    };
    bj_new_class(L, CLIENT_CLASS, methods, meta);
    bj_setfuncs(L, functions);
    bj_get_class(L, CLIENT_CLASS);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, idle, 1);
    lua_setfield(L, -3, "idle");
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, "client_methods"); /* the Lua half adds the rest */
    lua_setfield(L, -2, "client_meta");
}
