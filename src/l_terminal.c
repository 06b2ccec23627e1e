/* What the command asks of its terminal and its signals. A library never touches either. */
#include "l_bulkjob.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { INTERRUPTED_STATUS = 130 };

static volatile sig_atomic_t interrupts;

/* The second one leaves at once: whoever asks twice does not want to wait for what the first one has set off. */
static void on_signal(int number)
{
    (void)number;
    if (++interrupts > 1)
        _exit(INTERRUPTED_STATUS);
}

/* core.catch_interrupts(): SIGINT and SIGTERM are counted from now on, and wake whoever sleeps; the second ends the
 * program with status 130. A closed pipe is an error of the write, not the end. */
static int catch_interrupts(lua_State *L)
{
    struct sigaction action;
    (void)L;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* without SA_RESTART, so that poll comes back */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    return 0;
}

/* core.interrupts() -> how many there were */
static int count_interrupts(lua_State *L)
{
    lua_pushinteger(L, interrupts);
    return 1;
}

/* core.terminal(fd) -> its width in columns (0: it does not say) | nil: it is no terminal */
static int terminal(lua_State *L)
{
    int fd = (int)luaL_checkinteger(L, 1);
    struct winsize size;
    if (!isatty(fd))
        return 0;
    lua_pushinteger(L, ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0);
    return 1;
}

void bj_open_terminal(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"catch_interrupts", catch_interrupts},
        {"interrupts", count_interrupts},
        {"terminal", terminal},
        {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
