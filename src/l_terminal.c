/* What the command asks of its terminal, its signals and its process. A library never touches any of them. */
#include "l_class.h"

#include "clock.h"
#include "l_error.h"
#include "l_open.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

enum { INTERRUPTED_STATUS = 130 };

/* timeout(1) sends its signal twice, to the program and to its process group: that is one. */
static const double one_signal_seconds = 0.3;

static volatile sig_atomic_t interrupts;
static double interrupted_at;

/* The second one leaves at once: whoever asks twice does not want to wait for what the first one has set off. */
static void on_signal(int number)
{
    double now = clock_now();
    (void)number;
    if (interrupts && now - interrupted_at > one_signal_seconds)
        _exit(INTERRUPTED_STATUS);
    if (!interrupts)
        interrupted_at = now;
    interrupts = 1;
}

/* core.catch_interrupts(): SIGINT, SIGTERM and SIGHUP are noted from now on, and wake whoever sleeps; the second, a
 * moment later at least, ends the program with status 130. A closed pipe is an error of the write, not the end. */
static int catch_interrupts(lua_State *L)
{
    struct sigaction action;
    (void)L;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* without SA_RESTART, so that poll comes back */
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaddset(&action.sa_mask, SIGHUP);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup; /* nohup(1) has it ignored: then it stays so */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    return 0;
}

/* core.interrupts() -> 1 once there was one, else 0 */
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

enum { SECRET_MAX = 4096 };

/* Reads a line from the terminal `fd`. Answers its length without the line end, less than 0 for a failure. */
static ssize_t read_line(int fd, char *out)
{
    ssize_t len = 0;
    while (len < SECRET_MAX) {
        ssize_t n = read(fd, out + len, 1);
        if (n <= 0)
            return -1;
        if (out[len] == '\n')
            return len;
        len++;
    }
    return -1;
}

/* core.ask_secret(prompt) -> what was typed | nil: there is no terminal, or the user has interrupted it. Nothing is
 * shown of it. */
static int ask_secret(lua_State *L)
{
    size_t prompt_len;
    const char *prompt = luaL_checklstring(L, 1, &prompt_len);
    char *secret = lua_newuserdata(L, SECRET_MAX);
    struct termios before;
    struct termios silent;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    ssize_t len = -1;
    if (fd < 0)
        return 0;
    if (tcgetattr(fd, &before) == 0) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        if (tcsetattr(fd, TCSAFLUSH, &silent) == 0) {
            if (write(fd, prompt, prompt_len) == (ssize_t)prompt_len)
                len = read_line(fd, secret);
            tcsetattr(fd, TCSAFLUSH, &before);
            if (write(fd, "\n", 1) != 1)
                len = -1;
        }
    }
    close(fd);
    if (len < 0)
        return 0;
    lua_pushlstring(L, secret, (size_t)len);
    explicit_bzero(secret, SECRET_MAX);
    return 1;
}

/* core.keep_secrets(): this process leaves no core file, which would hold all that it knows */
static int keep_secrets(lua_State *L)
{
    const struct rlimit none = {0, 0};
    (void)L;
    setrlimit(RLIMIT_CORE, &none);
    return 0;
}

/* core.fill_descriptors(): where the standard input, output or error is closed, /dev/null takes its place, so that no
 * file or connection does */
static int fill_descriptors(lua_State *L)
{
    (void)L;
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    return 0;
}

/* core.exec(program, arguments) -> error: this process becomes that program, which has its path for a name. Comes back
 * only when it cannot. */
static int exec_program(lua_State *L)
{
    const char *program = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    size_t count = lua_rawlen(L, 2);
    const char **words = lua_newuserdata(L, (count + 2) * sizeof *words);
    words[0] = program;
    for (size_t i = 1; i <= count; i++) { /* they stay in the table */
        lua_rawgeti(L, 2, (int)i);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 2, "an array of strings expected");
        words[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    words[count + 1] = NULL;
    execv(program, (char *const *)words);
    bj_push_error(L, BJ_ERR_IO, NULL, "%s: %s", program, strerror(errno));
    return 1;
}

void bj_open_terminal(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"catch_interrupts", catch_interrupts},
        {"interrupts", count_interrupts},
        {"terminal", terminal},
        {"ask_secret", ask_secret},
        {"fill_descriptors", fill_descriptors},
        {"keep_secrets", keep_secrets},
        {"exec", exec_program},
        {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
