/* A C program that hosts Lua, has a loop of its own, and has bulkjob's core linked in.
 *
 *   host SCRIPT [BEATS]
 *
 * The script spawns tasks on a client, and returns the client and a table that the tasks fill in. The loop lets the
 * tasks move whenever they can, beside a heartbeat that stands for whatever else this program does. It ends with the
 * last task, or after so many BEATS, and then closes the state whatever is under way.
 *
 *   cc -std=c11 -D_GNU_SOURCE -DBULKJOB_LUA="\"$(pkg-config --variable=luadir bulkjob)/?.lua\"" \
 *     -o host host.c $(pkg-config --cflags --libs bulkjob)
 *
 * after `make install`. lua-cjson is found where the system has it, in package.cpath. */
#include <bulkjob.h>

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct host {
    const char *script;
    long most_beats; /* -1: as many as it takes */
    int heart;       /* a timerfd */
};

enum { CLIENT = 2, OUTCOME = 3 }; /* where serve() has them on the Lua stack */

/* Lua finds the core in this program, and the Lua half of bulkjob in files. A program could also bring those files
 * along as strings, and put what luaL_loadbuffer makes of them into package.preload in the same way. */
static void preload(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_bulkjob_core);
    lua_setfield(L, -2, "bulkjob.core");
    lua_getfield(L, -2, "path");
    lua_pushfstring(L, "%s;%s", BULKJOB_LUA, lua_tostring(L, -1));
    lua_setfield(L, -4, "path");
    lua_pop(L, 3);
}

/* client:NAME(); the caller takes the results from the stack. */
static void call_client(lua_State *L, const char *name, int results)
{
    lua_getfield(L, CLIENT, name);
    lua_pushvalue(L, CLIENT);
    lua_call(L, 1, results);
}

/* client:pollfd() -> a descriptor that is readable when a task can move */
static int get_descriptor(lua_State *L)
{
    call_client(L, "pollfd", 1);
    int fd = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return fd;
}

/* client:timeout() -> seconds until a task can move even so, or nil. In milliseconds for poll(2), rounded up. */
static int get_timeout(lua_State *L)
{
    call_client(L, "timeout", 1);
    int ms = -1;
    if (!lua_isnil(L, -1)) {
        lua_Number seconds = lua_tonumber(L, -1);
        ms = seconds > 0 ? (int)(seconds * 1000) + 1 : 0;
    }
    lua_pop(L, 1);
    return ms;
}

/* client:poll(0) -> how many tasks are left, and what one of them raised. Takes a fraction of a millisecond. */
static int step(lua_State *L)
{
    lua_getfield(L, CLIENT, "poll");
    lua_pushvalue(L, CLIENT);
    lua_pushinteger(L, 0);
    lua_call(L, 2, 2);
    if (!lua_isnil(L, -1))
        lua_error(L);
    int left = (int)lua_tointeger(L, -2);
    lua_pop(L, 2);
    return left;
}

static void print_outcome(lua_State *L, const char *name)
{
    lua_getfield(L, OUTCOME, name);
    printf("%s: %ld\n", name, (long)lua_tointeger(L, -1));
    lua_pop(L, 1);
}

/* Everything that may raise an error, in one function for lua_pcall. */
static int serve(lua_State *L)
{
    const struct host *host = lua_touserdata(L, 1);
    luaL_openlibs(L);
    preload(L);
    if (luaL_loadfile(L, host->script))
        lua_error(L);
    lua_call(L, 0, 2); /* leaves CLIENT and OUTCOME */

    long beats = 0;
    for (int left = step(L); left > 0 && beats != host->most_beats; left = step(L)) {
        struct pollfd fds[] = {
            {.fd = get_descriptor(L), .events = POLLIN},
            {.fd = host->heart, .events = POLLIN},
        };
        if (poll(fds, 2, get_timeout(L)) < 0 && errno != EINTR)
            return luaL_error(L, "poll: %s", strerror(errno));
        uint64_t times;
        if ((fds[1].revents & POLLIN) && read(host->heart, &times, sizeof times) == sizeof times)
            printf("beat %ld, %d tasks left\n", ++beats, left);
    }
    print_outcome(L, "processed");
    print_outcome(L, "created");
    return 0;
}

/* An error of bulkjob is a table; its __tostring makes one line of it. */
static int as_text(lua_State *L)
{
    lua_getglobal(L, "tostring");
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: host SCRIPT [BEATS]\n");
        return 2;
    }
    struct host host = {argv[1], argc > 2 ? atol(argv[2]) : -1, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)};
    const struct timespec tenth = {0, 100 * 1000 * 1000};
    lua_State *L = luaL_newstate();
    if (!L || host.heart < 0 || timerfd_settime(host.heart, 0, &(struct itimerspec){tenth, tenth}, NULL) != 0)
        return 1;
    lua_pushcfunction(L, as_text);
    lua_pushcfunction(L, serve);
    lua_pushlightuserdata(L, &host);
    int failed = lua_pcall(L, 1, 0, 1);
    if (failed)
        fprintf(stderr, "host: %s\n", lua_tostring(L, -1));
    /* Ends what is under way and joins the engine's thread. Jobs that were not closed are never processed. */
    lua_close(L);
    close(host.heart);
    return failed ? 1 : 0;
}
