/* A program that hosts Lua and runs out of memory on purpose.
 *
 *   oom_host SCRIPT lua|c once|always N
 *
 * From the script's call arm() on, until disarm(), the N-th allocation fails, and with `always` each one after it:
 * those of the Lua state, or those of our C core, which is linked with --wrap for this. Prints how many allocations
 * there were, and then "ok" or the error; both are fine. A leak, a crash or a hang is not. */
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int oom_core_fails(void); /* called by the core's wrapped allocators (oom_wrap.c), from two threads */

static atomic_bool armed;
static atomic_long count;
static long fail_at;
static int lua_side;
static int once;

static int fails(void)
{
    if (!atomic_load(&armed))
        return 0;
    long n = atomic_fetch_add(&count, 1) + 1;
    return once ? n == fail_at : n >= fail_at;
}

__attribute__((visibility("default"))) int oom_core_fails(void)
{
    return !lua_side && fails();
}

static void *allocate(void *user, void *p, size_t old_size, size_t size)
{
    (void)user;
    if (size == 0) {
        free(p);
        return NULL;
    }
    if ((!p || size > old_size) && lua_side && fails())
        return NULL;
    return realloc(p, size);
}

/* Lua tells by a warning that it had no memory to call a __gc: whatever that object owned is lost then, whoever wrote
 * it. */
static void on_warning(void *lost, const char *message, int more)
{
    (void)more;
    if (strcmp(message, "not enough memory") == 0)
        *(bool *)lost = true;
}

static int arm(lua_State *L)
{
    (void)L;
    atomic_store(&armed, true);
    return 0;
}

static int disarm(lua_State *L)
{
    (void)L;
    atomic_store(&armed, false);
    return 0;
}

/* Modules stay where they are, so that a report of a leak can name their functions. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    lua_side = strcmp(argv[2], "lua") == 0;
    once = strcmp(argv[3], "once") == 0;
    fail_at = atol(argv[4]);
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L)
        return 2;
    bool lost = false;
    lua_setwarnf(L, on_warning, &lost);
    luaL_openlibs(L);
    lua_register(L, "arm", arm);
    lua_register(L, "disarm", disarm);
    int failed = luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 0, 0);
    atomic_store(&armed, false);
    const char *error = failed ? lua_tostring(L, -1) : "ok";
    printf("%ld %s\n", atomic_load(&count), error ? error : "an error table");
    lua_close(L);
    if (lost) {
        fflush(stdout);
        _exit(0); /* without the search for leaks */
    }
    return 0;
}
