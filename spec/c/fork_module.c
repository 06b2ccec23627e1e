/* For life_spec.lua: plain Lua cannot fork. */
#include <dirent.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((weak)) void __asan_init(void);
__attribute__((weak)) void __lsan_do_leak_check(void);
__attribute__((weak)) void __tsan_init(void);

enum { SETTLED_THREADS = 2, MOST_LOOKS = 2000 }; /* the program's and the engine's; one look a millisecond */

static pid_t loader;

static int count_threads(void)
{
    int n = -2; /* "." and ".." */
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && readdir(tasks))
        n++;
    if (tasks)
        closedir(tasks);
    return n;
}

/* AddressSanitizer takes none of its own locks at a fork: one that a thread of libcurl's resolver is in would stay
 * taken in the child. Called when the engine holds still already, so no more of them can come. */
static void await_resolvers(void)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 1000 * 1000};
    for (int i = 0; i < MOST_LOOKS && count_threads() > SETTLED_THREADS; i++)
        nanosleep(&pause, NULL);
}

/* A forked process has no stack of the other threads. LeakSanitizer, whose check is the last thing at an exit, would
 * miss what only these pointed to. */
static void skip_leak_check(int status, void *unused)
{
    (void)unused;
    if (getpid() == loader)
        return;
    fflush(NULL);
    _exit(status);
}

/* ThreadSanitizer takes the parent's threads for running in the child too, and ends a process whose new thread has the
 * stack of a running one. glibc does hand out theirs; but none is as large as what is asked for from here on. */
static void leave_stacks(void)
{
    pthread_attr_t attr;
    size_t size;
    pthread_getattr_default_np(&attr);
    pthread_attr_getstacksize(&attr, &size);
    pthread_attr_setstacksize(&attr, size + 64 * 1024);
    pthread_setattr_default_np(&attr);
    pthread_attr_destroy(&attr);
}

/* fork() -> pid, 0 in the child */
static int l_fork(lua_State *L)
{
    pid_t pid = fork();
    if (pid == 0 && __tsan_init)
        leave_stacks();
    lua_pushinteger(L, (lua_Integer)pid);
    return 1;
}

/* wait(pid, seconds) -> its exit status; negative: the signal that ended it; nothing: it did not end, and was killed */
static int l_wait(lua_State *L)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = 5 * 1000 * 1000};
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    double left = luaL_checknumber(L, 2);
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (left <= 0) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return 0;
        }
        nanosleep(&pause, NULL);
        left -= 0.005;
    }
    lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 1;
}

int luaopen_fork_module(lua_State *L);

int luaopen_fork_module(lua_State *L)
{
    loader = getpid();
    if (__lsan_do_leak_check)
        on_exit(skip_leak_check, NULL);
    if (__asan_init) /* before the engine registers its own, which then comes earlier */
        pthread_atfork(await_resolvers, NULL, NULL);
    lua_newtable(L);
    lua_pushcfunction(L, l_fork);
    lua_setfield(L, -2, "fork");
    lua_pushcfunction(L, l_wait);
    lua_setfield(L, -2, "wait");
    /* Under load await_resolvers gives up now and then, and the child hangs in a lock of AddressSanitizer's. */
    lua_pushinteger(L, __asan_init ? 3 : 1);
    lua_setfield(L, -2, "tries");
    return 1;
}
