#include "engine.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

enum {
    KEPT_CONNECTIONS = 16, /* idle ones; libcurl's own default grows with the number of transfers */
    FIRST_SOCKETS = 4,
    WAKE_INDEX = 0, /* of the poll array */
    KEPT_HANDLES = 8,
};

/* An easy handle that no transfer has. To make one takes as long as a tenth of a small call. */
struct kept_handle {
    CURL *easy;
    struct settings *settings; /* that it was made for: a reference */
    bool tls;
};

struct engine {
    int refs;
    pthread_t thread;
    pid_t pid;
    int nice;
    struct wakeup wakeup; /* of the thread */
    atomic_bool stopping;

    /* What the host wants, latest first; a reference to each. No lock: the kernel may put the thread aside for a whole
     * slice while it holds one, and a frame of a game would wait for that. */
    _Atomic(struct transfer *) commands;
    atomic_bool asleep; /* the thread sleeps, or is about to, and no command has woken it yet */

    pthread_mutex_t busy;     /* held by the thread whenever it does not sleep, so that a fork can wait for that */
    pthread_mutex_t lock;     /* guards what follows */
    struct channel *channels; /* those of engine_add_channel; a reference to each */

    /* The thread's own. */
    CURLM *multi;
    struct pollfd *sockets;
    nfds_t socket_count;
    nfds_t socket_room;
    double timer; /* when libcurl wants to be called; negative: not at all */
    struct origins origins;
    struct transfer *transfers; /* a reference to each that was handed over and is not done, latest first */
    long running;               /* how many of them libcurl has */
    double check_at;            /* when to look which of them are over; negative: no need */
    struct kept_handle handles[KEPT_HANDLES];
    int next_handle; /* whose place is taken next */
    double look_at;  /* when to look whether somebody at the other end of a socket is gone */

    struct engine *next; /* in the list of all engines */
};

/* Between two looks at the other ends of sockets. */
static const double LOOK_SECONDS = 1;

static pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine *engines;
static pid_t forking_pid; /* under engines_lock */

/* ---- news: engine's thread to host's ---- */

static void tell_host(struct transfer *t)
{
    pthread_mutex_lock(&t->lock);
    t->missed = !t->channel || !channel_put(t->channel, t);
    pthread_mutex_unlock(&t->lock);
}

void engine_watch(struct transfer *t, struct channel *c, double tag)
{
    t->tag = tag;
    if (t->channel == c)
        return;
    pthread_mutex_lock(&t->lock);
    struct channel *before = t->channel;
    if (before && channel_remove(before, t))
        t->missed = true;
    t->channel = channel_ref(c);
    t->unwatch = channel_unref;
    t->missed = t->missed && !channel_put(c, t);
    pthread_mutex_unlock(&t->lock);
    channel_unref(before);
}

void engine_add_channel(struct engine *e, struct channel *c, double deadline)
{
    pthread_mutex_lock(&e->lock);
    c->deadline = deadline;
    c->abandoned = false;
    c->engine_next = e->channels;
    e->channels = channel_ref(c);
    pthread_mutex_unlock(&e->lock);
    wakeup_send(&e->wakeup);
}

void engine_remove_channel(struct engine *e, struct channel *c)
{
    pthread_mutex_lock(&e->lock);
    struct channel **at = &e->channels;
    while (*at && *at != c)
        at = &(*at)->engine_next;
    bool found = *at;
    if (found)
        *at = c->engine_next;
    pthread_mutex_unlock(&e->lock);
    if (found)
        channel_unref(c);
}

/* ---- the command list: host's thread to engine's ---- */

static bool command(struct engine *e, struct transfer *t, int what)
{
    if (engine_is_foreign(e) || atomic_load(&e->stopping))
        return false;
    if (atomic_fetch_or(&t->commands, what) != 0)
        return true;
    transfer_ref(t);
    t->command_next = atomic_load(&e->commands);
    while (!atomic_compare_exchange_weak(&e->commands, &t->command_next, t)) {
    }
    if (atomic_exchange(&e->asleep, false))
        wakeup_send(&e->wakeup);
    return true;
}

bool engine_start(struct engine *e, struct transfer *t)
{
    t->news = tell_host;
    t->started = clock_now();
    return command(e, t, TRANSFER_START);
}

void engine_cancel(struct engine *e, struct transfer *t)
{
    if (!atomic_load_explicit(&t->done, memory_order_acquire)) /* else the thread would be woken for nothing */
        command(e, t, TRANSFER_CANCEL);
}

void engine_unpause(struct engine *e, struct transfer *t)
{
    command(e, t, TRANSFER_UNPAUSE);
}

/* ---- the engine's thread: transfers ---- */

static bool has_tls(const struct transfer *t)
{
    return strncasecmp(t->url, "https:", 6) == 0;
}

/* A handle for a transfer like this one, or NULL. */
static CURL *take_handle(struct engine *e, const struct transfer *t)
{
    for (int i = 0; i < KEPT_HANDLES && transfer_may_share(t); i++) {
        struct kept_handle *h = &e->handles[i];
        if (!h->easy || h->settings != t->settings || h->tls != has_tls(t))
            continue;
        CURL *easy = h->easy;
        h->easy = NULL;
        settings_unref(h->settings);
        e->next_handle = i;
        return easy;
    }
    return NULL;
}

static void free_handle(struct kept_handle *h)
{
    if (!h->easy)
        return;
    curl_easy_cleanup(h->easy);
    settings_unref(h->settings);
    h->easy = NULL;
}

static void keep_handle(struct engine *e, const struct transfer *t, CURL *easy)
{
    struct kept_handle *h = &e->handles[e->next_handle];
    e->next_handle = (e->next_handle + 1) % KEPT_HANDLES;
    free_handle(h);
    *h = (struct kept_handle){easy, settings_ref(t->settings), has_tls(t)};
}

/* The end of every transfer. Gives up the reference that the list held. */
static void finish(struct engine *e, struct transfer *t, CURLcode code)
{
    CURL *easy = transfer_finish(t, code);
    if (easy)
        keep_handle(e, t, easy);
    atomic_store_explicit(&t->done, true, memory_order_release);
    tell_host(t);
    transfer_unref(t);
}

/* Has the transfer looked at when it may be over. */
static void check_later(struct engine *e, double when)
{
    e->check_at = clock_sooner(e->check_at, when);
}

/* The same for one that was not looked at while it waited or was paused. */
static void check_from_now(struct engine *e, struct transfer *t)
{
    double again;
    check_later(e, transfer_is_over(t, clock_now(), &again) ? 0 : again);
}

/* Ends it at the next check; so this is allowed anywhere. */
static void give_up(struct engine *e, struct transfer *t, enum stop_reason why, CURLcode code)
{
    t->failed = true;
    t->stop = why;
    t->code = code;
    check_later(e, 0);
}

/* libcurl counts the connections in use as kept ones, and would keep none beside many of these. */
static void count_running(struct engine *e, long more)
{
    e->running += more;
    curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, e->running + KEPT_CONNECTIONS);
}

static void run(struct engine *e, struct transfer *t)
{
    t->started = t->last_byte = clock_now();
    CURLcode code = transfer_setup(t, take_handle(e, t));
    if (code == CURLE_OK && curl_multi_add_handle(e->multi, t->easy) != CURLM_OK)
        code = CURLE_OUT_OF_MEMORY;
    if (t->easy)
        count_running(e, 1);
    if (code != CURLE_OK)
        give_up(e, t, code == CURLE_OUT_OF_MEMORY ? STOP_NO_MEMORY : STOP_NONE, code);
    check_from_now(e, t);
}

static void run_waiting(struct engine *e, struct origin *o)
{
    struct slot *s;
    while (o && !atomic_load(&e->stopping) && (s = slot_next(o)))
        run(e, s->owner);
}

/* Ends a transfer that is not done, running or waiting. */
static void end(struct engine *e, struct transfer *t, CURLcode code)
{
    if (t->easy) {
        curl_multi_remove_handle(e->multi, t->easy);
        count_running(e, -1);
    }
    *t->at = t->next;
    if (t->next)
        t->next->at = t->at;
    t->at = NULL;
    struct origin *o = t->slot.origin ? slot_release(&e->origins, &t->slot) : NULL;
    finish(e, t, code);
    run_waiting(e, o);
}

static void start(struct engine *e, struct transfer *t)
{
    t->next = e->transfers;
    t->at = &e->transfers;
    if (t->next)
        t->next->at = &t->next;
    e->transfers = transfer_ref(t);
    t->slot.owner = t;
    check_later(e, t->deadline);
    /* A transfer that the host can hold up must not take a slot: it may keep it for as long as the program likes, and
     * what waits for the slot may be what the program waits for. */
    if (transfer_is_paced(t))
        run(e, t);
    else if (slot_request(&e->origins, &t->slot, t->url, t->settings->max_connections))
        run_waiting(e, t->slot.origin);
    else
        give_up(e, t, STOP_NO_MEMORY, CURLE_OUT_OF_MEMORY);
}

static void cancel(struct engine *e, struct transfer *t)
{
    if (!t->at)
        return;
    t->stop = STOP_CANCELLED;
    end(e, t, CURLE_ABORTED_BY_CALLBACK);
}

static void unpause(struct engine *e, struct transfer *t)
{
    if (!t->easy || !(t->in_paused || t->out_paused))
        return;
    t->in_paused = t->out_paused = false;
    t->last_byte = clock_now();
    check_from_now(e, t);
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

/* What the host has asked for until now, oldest first. */
static struct transfer *take_list(struct engine *e)
{
    struct transfer *list = NULL;
    struct transfer *latest = atomic_exchange(&e->commands, NULL);
    for (struct transfer *t; (t = latest);) {
        latest = t->command_next;
        t->command_next = list;
        list = t;
    }
    return list;
}

static bool take_commands(struct engine *e)
{
    struct transfer *list = take_list(e);
    for (struct transfer *t; (t = list);) {
        list = t->command_next;
        int what = atomic_exchange(&t->commands, 0); /* from here on the host may list it again */
        if (what & TRANSFER_START)
            start(e, t);
        if (what & TRANSFER_UNPAUSE)
            unpause(e, t);
        if (what & TRANSFER_CANCEL)
            cancel(e, t);
        transfer_unref(t);
    }
    return !atomic_load(&e->stopping);
}

/* Ends what is over; answers when to look again (negative: no need). */
static double check_transfers(struct engine *e)
{
    double now = clock_now();
    if (e->check_at < 0 || e->check_at > now)
        return e->check_at;
    e->check_at = -1;
    struct transfer *next;
    for (struct transfer *t = e->transfers; t; t = next) {
        double again;
        next = t->next; /* the end of one may start others, but ends none */
        if (transfer_is_over(t, now, &again))
            end(e, t, t->failed ? t->code : CURLE_ABORTED_BY_CALLBACK);
        else
            check_later(e, again);
    }
    return e->check_at;
}

static bool is_abandoned(struct transfer *t)
{
    pthread_mutex_lock(&t->lock);
    bool abandoned = t->channel && t->channel->abandoned;
    pthread_mutex_unlock(&t->lock);
    return abandoned;
}

static void end_abandoned(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    for (struct transfer *t = e->transfers; t; t = t->next)
        if (is_abandoned(t))
            give_up(e, t, STOP_CANCELLED, CURLE_ABORTED_BY_CALLBACK);
    pthread_mutex_unlock(&e->lock);
}

/* Wakes the waiters whose deadline has come. A coroutine that was killed while it waited has left its socket: what it
 * waited for is ended, since Lua may be slow to collect it. Answers when to look again (negative: no need). */
static double check_channels(struct engine *e)
{
    double now = clock_now();
    double soonest = -1;
    bool abandoned = false;
    bool look = now >= e->look_at;
    if (look)
        e->look_at = now + LOOK_SECONDS;
    pthread_mutex_lock(&e->lock);
    for (struct channel **at = &e->channels; *at;) {
        struct channel *c = *at;
        if (c->deadline >= 0 && c->deadline <= now) {
            channel_wake(c);
            c->deadline = -1;
        }
        if (look && channel_peer_closed(c)) {
            abandoned = c->abandoned = true;
            *at = c->engine_next;
            channel_unref(c); /* the host has another reference until engine_remove_channel */
            continue;
        }
        soonest = clock_sooner(soonest, clock_sooner(c->deadline, c->has_socket ? e->look_at : -1));
        at = &c->engine_next;
    }
    pthread_mutex_unlock(&e->lock);
    if (abandoned)
        end_abandoned(e);
    return soonest;
}

static struct transfer *transfer_of(CURL *easy)
{
    char *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    return (struct transfer *)(void *)t;
}

static void collect(struct engine *e)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(e->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        end(e, transfer_of(m->easy_handle), code);
    }
}

/* ---- the engine's thread: sockets ---- */

/* An index of the poll array; 0: out of memory. */
static nfds_t add_pollfd(struct engine *e, curl_socket_t fd)
{
    if (e->socket_count == e->socket_room) {
        nfds_t room = e->socket_room * 2;
        struct pollfd *more = realloc(e->sockets, room * sizeof *more);
        if (!more)
            return 0;
        e->sockets = more;
        e->socket_room = room;
    }
    nfds_t index = e->socket_count++;
    e->sockets[index].fd = fd;
    e->sockets[index].revents = 0;
    curl_multi_assign(e->multi, fd, (void *)(size_t)index);
    return index;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    struct engine *e = user;
    struct transfer *t = transfer_of(easy);     /* NULL: libcurl's own, which closes a connection */
    nfds_t index = (nfds_t)(size_t)socket_user; /* 0, WAKE_INDEX, means that libcurl has not told us of it yet */
    if (what == CURL_POLL_REMOVE) {
        if (t && t->socket == fd)
            t->socket = CURL_SOCKET_BAD;
        if (index) {
            e->sockets[index] = e->sockets[--e->socket_count];
            if (index < e->socket_count)
                curl_multi_assign(e->multi, e->sockets[index].fd, (void *)(size_t)index);
        }
        return 0;
    }
    if (t)
        t->socket = fd;
    if (!index) {
        if (!(t && t->connected))
            fcntl(fd, F_SETFD, FD_CLOEXEC); /* one that libcurl made to hear from its resolver */
        index = add_pollfd(e, fd);
    }
    if (!index) {
        /* An error from here would end all that libcurl does, for good. A connection that libcurl itself closes is
         * given up by it after a while. */
        if (t)
            give_up(e, t, STOP_NO_MEMORY, CURLE_OUT_OF_MEMORY);
        return 0;
    }
    e->sockets[index].events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *user)
{
    struct engine *e = user;
    (void)multi;
    e->timer = ms < 0 ? -1 : clock_now() + (double)ms / 1000;
    return 0;
}

/* Calls libcurl for each socket that is ready. The calls change the array, so nothing is kept across a call but
 * an index, and an index visited twice or too early only finds nothing to do. */
static void serve_sockets(struct engine *e, int ready)
{
    int running;
    for (nfds_t i = WAKE_INDEX + 1; i < e->socket_count && ready > 0; i++) {
        short got = e->sockets[i].revents;
        if (!got)
            continue;
        ready--;
        e->sockets[i].revents = 0;
        int what = (got & POLLIN ? CURL_CSELECT_IN : 0) | (got & POLLOUT ? CURL_CSELECT_OUT : 0);
        if (got & (POLLERR | POLLHUP | POLLNVAL))
            what |= CURL_CSELECT_ERR | CURL_CSELECT_IN;
        curl_multi_socket_action(e->multi, e->sockets[i].fd, what, &running);
    }
}

/* How long poll(2) may sleep when the next thing to do is `at`; negative: there is none. */
static int poll_ms(double at)
{
    return at < 0 ? -1 : clock_poll_ms(at - clock_now());
}

/* Waits for a socket, a wakeup or that moment. */
static int sleep_till(struct engine *e, double at)
{
    atomic_store(&e->asleep, true);
    /* A command listed before the store has woken nobody. */
    int ready = poll(e->sockets, e->socket_count, atomic_load(&e->commands) ? 0 : poll_ms(at));
    atomic_store(&e->asleep, false);
    return ready;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    int running;
#ifdef __linux__
    if (e->nice)
        setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), getpriority(PRIO_PROCESS, 0) + e->nice);
#endif
    pthread_mutex_lock(&e->busy);
    while (take_commands(e)) {
        /* Before the sleep: a transfer that was just added is due at once. */
        if (e->timer >= 0 && e->timer <= clock_now()) {
            e->timer = -1;
            curl_multi_socket_action(e->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        collect(e);
        /* Each of these may change what the next one reads, the timer as well. */
        double at = check_channels(e);
        at = clock_sooner(at, check_transfers(e));
        at = clock_sooner(at, e->timer);
        pthread_mutex_unlock(&e->busy);
        int ready = sleep_till(e, at);
        pthread_mutex_lock(&e->busy);
        if (ready > 0 && e->sockets[WAKE_INDEX].revents) {
            e->sockets[WAKE_INDEX].revents = 0;
            ready--;
            wakeup_clear(&e->wakeup);
        }
        if (ready > 0)
            serve_sockets(e, ready);
    }
    while (e->transfers)
        cancel(e, e->transfers);
    pthread_mutex_unlock(&e->busy);
    return NULL;
}

/* ---- start and end ---- */

static void global_init(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    transfer_global_init();
}

/* A program may leave by exit() while the thread is busy in OpenSSL, whose own exit handler frees what
 * the thread uses. Ours was registered later, so it runs earlier. */
static void stop_thread(struct engine *e)
{
    if (atomic_exchange(&e->stopping, true))
        return;
    wakeup_send(&e->wakeup);
    pthread_join(e->thread, NULL);
}

static void stop_all(void)
{
    pthread_mutex_lock(&engines_lock);
    for (struct engine *e = engines; e; e = e->next)
        if (!engine_is_foreign(e))
            stop_thread(e);
    pthread_mutex_unlock(&engines_lock);
}

/* A forked process inherits every lock as it is, and nobody there would ever open one that a thread of ours held in
 * OpenSSL or malloc. So a fork waits until all engines sleep, and lets them go on after it. */
static void before_fork(void)
{
    pthread_mutex_lock(&engines_lock);
    forking_pid = getpid();
    for (struct engine *e = engines; e; e = e->next) {
        if (e->pid == forking_pid) {
            pthread_mutex_lock(&e->busy);
            pthread_mutex_lock(&e->lock);
        }
    }
}

/* In both processes: all that was locked is unlocked. */
static void after_fork(void)
{
    for (struct engine *e = engines; e; e = e->next) {
        if (e->pid == forking_pid) {
            pthread_mutex_unlock(&e->lock);
            pthread_mutex_unlock(&e->busy);
        }
    }
    pthread_mutex_unlock(&engines_lock);
}

static void register_handlers(void)
{
    atexit(stop_all);
    pthread_atfork(before_fork, after_fork, after_fork);
}

static void release(struct engine *e)
{
    for (struct channel *c; (c = e->channels);) {
        e->channels = c->engine_next;
        channel_unref(c);
    }
    struct transfer *list = take_list(e);
    for (struct transfer *t; (t = list);) {
        list = t->command_next;
        transfer_unref(t);
    }
    for (int i = 0; i < KEPT_HANDLES; i++)
        free_handle(&e->handles[i]);
    if (e->multi)
        curl_multi_cleanup(e->multi);
    wakeup_close(&e->wakeup);
    pthread_mutex_destroy(&e->busy);
    pthread_mutex_destroy(&e->lock);
    free(e->sockets);
    free(e);
}

enum { NEAR = 32 };

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static bool is_local_socket(int fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &n) == 0 && address.ss_family == AF_UNIX;
}

/* The multi handle of libcurl 7.88 comes with a pair of sockets for curl_multi_wakeup, which programs that the host
 * starts would inherit. Nobody tells which two these are; they are local sockets that were not there before, close to
 * the lowest descriptor that was free. */
static CURLM *new_multi(const struct engine *e)
{
    bool before[NEAR];
    int lowest = fcntl(e->wakeup.read_fd, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0)
        return NULL;
    close(lowest);
    for (int i = 0; i < NEAR; i++)
        before[i] = is_open(lowest + i);
    CURLM *multi = curl_multi_init();
    for (int i = 0; i < NEAR; i++)
        if (!before[i] && is_open(lowest + i) && is_local_socket(lowest + i))
            fcntl(lowest + i, F_SETFD, FD_CLOEXEC);
    return multi;
}

static bool prepare(struct engine *e, const char **why)
{
    e->sockets = calloc(FIRST_SOCKETS, sizeof *e->sockets);
    if (!e->sockets)
        return false;
    if (!wakeup_open(&e->wakeup)) {
        *why = strerror(errno);
        return false;
    }
    e->multi = new_multi(e);
    if (!e->multi)
        return false;
    e->socket_room = FIRST_SOCKETS;
    e->socket_count = 1;
    e->sockets[WAKE_INDEX].fd = e->wakeup.read_fd;
    e->sockets[WAKE_INDEX].events = POLLIN;
    e->timer = -1;
    e->check_at = -1;
    return curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e) == CURLM_OK &&
           curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e) == CURLM_OK &&
           curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS) == CURLM_OK;
}

static bool start_thread(struct engine *e)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&e->thread, NULL, engine_main, e) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

/* Why pthread_create failed. HAProxy is the host known to take all threads from itself: see `insecure-fork-wanted` in
 * its configuration manual. */
static const char *why_no_thread(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur == 0)
        return "no thread could be started, as the limit RLIMIT_NPROC of this process is 0; HAProxy sets it to 0 "
               "unless "
               "its configuration has `insecure-fork-wanted` in the section `global`";
    return "no thread could be started";
}

struct engine *engine_new(int nice, const char **why)
{
    static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
    static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
    pthread_once(&curl_once, global_init);
    pthread_once(&handlers_once, register_handlers);
    *why = "out of memory";
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->refs = 1;
    e->pid = getpid();
    e->nice = nice;
    atomic_init(&e->stopping, false);
    atomic_init(&e->commands, NULL);
    atomic_init(&e->asleep, false);
    wakeup_init(&e->wakeup);
    pthread_mutex_init(&e->busy, NULL);
    pthread_mutex_init(&e->lock, NULL);
    if (!prepare(e, why)) {
        release(e);
        return NULL;
    }
    if (!start_thread(e)) {
        *why = why_no_thread();
        release(e);
        return NULL;
    }
    pthread_mutex_lock(&engines_lock);
    e->next = engines;
    engines = e;
    pthread_mutex_unlock(&engines_lock);
    return e;
}

void engine_stop(struct engine *e)
{
    if (engine_is_foreign(e))
        return;
    pthread_mutex_lock(&engines_lock);
    for (struct engine **at = &engines; *at; at = &(*at)->next) {
        if (*at == e) {
            *at = e->next;
            break;
        }
    }
    pthread_mutex_unlock(&engines_lock);
    stop_thread(e);
}

struct engine *engine_ref(struct engine *e)
{
    e->refs++;
    return e;
}

void engine_unref(struct engine *e)
{
    if (--e->refs == 0 && !engine_is_foreign(e))
        release(e);
}

bool engine_is_foreign(const struct engine *e)
{
    return e->pid != getpid();
}
