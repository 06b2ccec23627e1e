/* Opens and closes Lua states, and says what is left of them.
 *
 *   states SCRIPT ROUNDS THREADS
 *
 * In each of THREADS threads at the same time, ROUNDS times: a new state runs the script, which gets the number of the
 * round, and is closed. Built twice: with the core linked in, and without it, so that each state loads the shared core
 * and libcurl, and unloads them when it is closed.
 *
 * Prints three lines "DESCRIPTORS THREADS KILOBYTES": before the first round, after the tenth and after the last. The
 * kilobytes are the private memory of this process that was written to. */
#include "bulkjob.h"

#include <dirent.h>
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <malloc.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_ROUNDS = 10, MOST_THREADS = 16 };

static const char *script;
static int rounds;
static atomic_int failed;

static void nap(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* A name server that is slow for one name: libcurl's resolver thread then outlives the state. Others are looked up as
 * ever. */
__attribute__((visibility("default"))) int getaddrinfo(const char *restrict node, const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict found)
{
    if (node && strcmp(node, "slow.test") == 0) {
        nap(500);
        return EAI_AGAIN;
    }
    int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&lookup = dlsym(RTLD_NEXT, "getaddrinfo");
    return lookup(node, service, hints, found);
}

static int count(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

static long written_memory(void)
{
    char line[256];
    long kilobytes = -1;
    malloc_trim(0); /* what is free and was only kept */
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "Private_Dirty:", 14) == 0)
            kilobytes = strtol(line + 14, NULL, 10);
    if (f)
        fclose(f);
    return kilobytes;
}

static void print_figures(void)
{
    printf("%d %d %ld\n", count("/proc/self/fd"), count("/proc/self/task"), written_memory());
}

static void run(int round)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
#ifdef WITH_CORE
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_bulkjob_core);
    lua_setfield(L, -2, "bulkjob.core");
    lua_settop(L, 0);
#endif
    int bad = luaL_loadfile(L, script);
    lua_pushinteger(L, round);
    if (bad || lua_pcall(L, 1, 0, 0)) {
        lua_getglobal(L, "tostring");
        lua_insert(L, -2);
        lua_call(L, 1, 1);
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        atomic_store(&failed, 1);
    }
    lua_close(L);
}

/* `main_thread`: not NULL in the one that prints figures */
static void *run_all(void *main_thread)
{
    for (int i = 1; i <= rounds; i++) {
        run(i);
        if (main_thread && i == WARM_ROUNDS)
            print_figures();
    }
    return NULL;
}

static void *return_at_once(void *nothing)
{
    return nothing;
}

int main(int argc, char **argv)
{
    pthread_t threads[MOST_THREADS];
    int others = argc == 4 ? atoi(argv[3]) - 1 : -1;
    if (others < 0 || others > MOST_THREADS)
        return 2;
    script = argv[1];
    rounds = atoi(argv[2]);

    /* ThreadSanitizer has a thread of its own from the first one on. */
    if (pthread_create(&threads[0], NULL, return_at_once, NULL) != 0 || pthread_join(threads[0], NULL) != 0)
        return 2;
    print_figures();
    int at_start = count("/proc/self/task");
    for (int i = 0; i < others; i++)
        if (pthread_create(&threads[i], NULL, run_all, NULL) != 0)
            return 2;
    run_all(argv);
    for (int i = 0; i < others; i++)
        pthread_join(threads[i], NULL);

    /* Those that the slow lookup holds up. */
    for (int i = 0; i < 1000 && count("/proc/self/task") > at_start; i++)
        nap(10);
    print_figures();
    return atomic_load(&failed);
}
