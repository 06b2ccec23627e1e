/* What signing in needs of C: a signature, and a request without a token. */
#include "buf.h"
#include "jwt.h"
#include "l_call.h"
#include "l_client.h"
#include "l_error.h"
#include "l_open.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JWT_MAX = 64 * 1024, OUTPUT_MAX = 256 * 1024 };

/* core.sign_jwt(key, passphrase | nil, claims) -> token | nil, err: `key` in PEM, `claims` as JSON */
static int sign_jwt(lua_State *L)
{
    struct jwt_key key;
    struct buf out;
    size_t len;
    key.pem = luaL_checklstring(L, 1, &key.pem_len);
    key.passphrase = luaL_optlstring(L, 2, NULL, &key.passphrase_len);
    const char *claims = luaL_checklstring(L, 3, &len);
    char *token = lua_newuserdata(L, JWT_MAX); /* Lua may run out of memory while nothing else is held */
    buf_init(&out, JWT_MAX);
    const char *problem = jwt_sign(&key, claims, len, &out);
    len = out.len;
    if (!problem)
        memcpy(token, out.data, len);
    buf_free(&out);
    if (problem)
        return bj_fail(L, BJ_ERR_AUTH, NULL, "%s", problem);
    lua_pushlstring(L, token, len);
    return 1;
}

/* Reads all of it, as far as there is room. A signal that the host handles is no end. */
static size_t read_all(int fd, char *out, size_t room)
{
    size_t len = 0;
    while (len < room) {
        ssize_t n = read(fd, out + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

/* core.run_command(line) -> what the shell's command prints (at most OUTPUT_MAX bytes), and its exit status; nil, why
 * when it cannot be started. Waits for it. */
static int run_command(lua_State *L)
{
    const char *line = luaL_checkstring(L, 1);
    char *text = lua_newuserdata(L, OUTPUT_MAX);
    FILE *pipe = popen(line, "re");
    if (!pipe) {
        lua_pushnil(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    size_t len = read_all(fileno(pipe), text, OUTPUT_MAX);
    int status = pclose(pipe);
    lua_pushlstring(L, text, len);
    explicit_bzero(text, len);
    lua_pushinteger(L, status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 2;
}

/* core.ask_token(client, login_url, form, secrets) -> call: a JSON object from the token endpoint, by a POST without
 * the client's token. None of the `secrets`, an array of strings, appears in an error. */
static int ask_token(lua_State *L)
{
    const struct client *cl = bj_check_client(L, 1);
    const char *login_url = luaL_checkstring(L, 2);
    luaL_checkstring(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    lua_pushlstring(L, login_url, bj_check_origin(L, cl, "login_url", login_url));
    lua_pushliteral(L, "/services/oauth2/token");
    lua_concat(L, 2);
    bj_push_call(L, VERB_READ, 1, 0, "POST", EXPECT_OBJECT);
    lua_pushvalue(L, 3);
    lua_pushliteral(L, "application/x-www-form-urlencoded");
    bj_call_body(L, 5);
    lua_pushvalue(L, 4);
    bj_call_login(L, 5);
    return 1;
}

void bj_open_auth(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"sign_jwt", sign_jwt},
        {"ask_token", ask_token},
        {"run_command", run_command},
        {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
