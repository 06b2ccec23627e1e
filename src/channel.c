#include "channel.h"

#include "clock.h"
#include "transfer.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#endif

static const double LONGEST_SLEEP = 60; /* seconds; who sleeps looks again anyhow */

struct channel *channel_new(void)
{
    struct channel *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    atomic_init(&c->news, 0);
    atomic_init(&c->sleeping, false);
    atomic_init(&c->wakes, 0);
    pthread_mutex_init(&c->lock, NULL);
    c->pid = getpid();
    c->last = &c->first;
    c->deadline = -1;
    wakeup_init(&c->wakeup);
    return c;
}

struct channel *channel_ref(struct channel *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void channel_unref(struct channel *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    wakeup_close(&c->wakeup);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool channel_is_foreign(const struct channel *c)
{
    return c->pid != getpid();
}

/* These two under the lock. One that was not sent is not read from: that would be a system call for each sleep. */
static void send_wakeup(struct channel *c)
{
    wakeup_send(&c->wakeup);
    c->sent = true;
}

static void clear_wakeup(struct channel *c)
{
    if (c->sent)
        wakeup_clear(&c->wakeup);
    c->sent = false;
}

#ifdef __linux__

static long futex(atomic_uint *word, int what, unsigned value, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, what, value, timeout, NULL, 0);
}

/* Not under the lock: who wakes would wait for it. Each wake-up grows the word before it looks for a sleeper, and a
 * sleeper shows itself after it has read the word, so none is missed. */
static void wake_sleeper(struct channel *c)
{
    atomic_fetch_add(&c->wakes, 1);
    if (atomic_load(&c->sleeping))
        futex(&c->wakes, FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
}

/* Always with a time-out: without one the kernel goes on sleeping after a signal whose handler has SA_RESTART. */
static bool sleep_while(struct channel *c, unsigned wakes, double seconds)
{
    int ms = clock_poll_ms(seconds < 0 ? LONGEST_SLEEP : seconds);
    struct timespec timeout = {ms / 1000, ms % 1000 * 1000000L};
    futex(&c->wakes, FUTEX_WAIT_PRIVATE, wakes, &timeout);
    return true;
}

#else

static void wake_sleeper(struct channel *c)
{
    (void)c;
}

static bool sleep_while(struct channel *c, unsigned wakes, double seconds)
{
    struct pollfd p = {.fd = channel_fd(c), .events = POLLIN};
    (void)wakes;
    if (p.fd >= 0)
        poll(&p, 1, seconds < 0 ? -1 : clock_poll_ms(seconds));
    return p.fd >= 0;
}

#endif

static void append(struct channel *c, struct transfer *t)
{
    t->listed = true;
    t->listed_next = NULL;
    *c->last = transfer_ref(t);
    c->last = &t->listed_next;
    if (atomic_fetch_add(&c->news, 1) == 0 && c->wakeup.write_fd >= 0)
        send_wakeup(c);
}

/* Takes out the one that *at points to; its reference goes to the caller. */
static struct transfer *take(struct channel *c, struct transfer **at)
{
    struct transfer *t = *at;
    *at = t->listed_next;
    if (!*at)
        c->last = at;
    t->listed = false;
    if (atomic_fetch_sub(&c->news, 1) == 1 && !channel_is_foreign(c))
        clear_wakeup(c);
    return t;
}

void channel_close(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    c->closed = true;
    struct transfer *t;
    while (c->first) {
        t = take(c, &c->first);
        pthread_mutex_unlock(&c->lock);
        transfer_unref(t); /* which may be the last reference to this very channel but ours */
        pthread_mutex_lock(&c->lock);
    }
    wakeup_close(&c->wakeup);
    pthread_mutex_unlock(&c->lock);
}

bool channel_put(struct channel *c, struct transfer *t)
{
    pthread_mutex_lock(&c->lock);
    bool open = !c->closed;
    if (open && !t->listed)
        append(c, t);
    pthread_mutex_unlock(&c->lock);
    wake_sleeper(c);
    return open;
}

bool channel_remove(struct channel *c, struct transfer *t)
{
    bool was;
    pthread_mutex_lock(&c->lock);
    was = t->listed;
    if (was) {
        struct transfer **at = &c->first;
        while (*at != t)
            at = &(*at)->listed_next;
        take(c, at);
    }
    pthread_mutex_unlock(&c->lock);
    if (was)
        transfer_unref(t);
    return was;
}

bool channel_next(struct channel *c, bool drop, double *tag)
{
    struct transfer *dropped = NULL;
    /* A frame of a game must not wait for a thread that was sent to sleep while it held the lock. */
    if (atomic_load_explicit(&c->news, memory_order_acquire) == 0 || pthread_mutex_trylock(&c->lock) != 0)
        return false;
    if (c->first && drop)
        dropped = take(c, &c->first);
    bool any = c->first != NULL;
    if (any)
        *tag = c->first->tag;
    pthread_mutex_unlock(&c->lock);
    transfer_unref(dropped); /* which may be the last reference to this very channel but the caller's */
    return any;
}

int channel_fd(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    bool news = atomic_load(&c->news) > 0;
    if (c->wakeup.write_fd >= 0 && !news)
        clear_wakeup(c);
    else if (c->wakeup.write_fd < 0 && wakeup_open(&c->wakeup) && (news || c->woken))
        send_wakeup(c);
    c->woken = false;
    int fd = c->wakeup.read_fd;
    pthread_mutex_unlock(&c->lock);
    return fd;
}

void channel_attach(struct channel *c, int fd)
{
    pthread_mutex_lock(&c->lock);
    wakeup_close(&c->wakeup);
    wakeup_attach(&c->wakeup, fd);
    c->has_socket = true;
    if (atomic_load(&c->news) > 0 || c->woken)
        send_wakeup(c);
    c->woken = false;
    pthread_mutex_unlock(&c->lock);
}

void channel_detach(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->has_socket) {
        wakeup_close(&c->wakeup);
        c->woken = false;
    }
    c->has_socket = false;
    pthread_mutex_unlock(&c->lock);
}

void channel_wake(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->wakeup.write_fd >= 0)
        send_wakeup(c);
    c->woken = true;
    pthread_mutex_unlock(&c->lock);
    wake_sleeper(c);
}

bool channel_peer_closed(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    bool abandoned = c->has_socket && wakeup_peer_closed(&c->wakeup);
    if (abandoned)
        wakeup_close(&c->wakeup);
    pthread_mutex_unlock(&c->lock);
    return abandoned;
}

/* Was it woken without news since this was asked last? */
static bool take_woken(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    bool woken = c->woken;
    c->woken = false;
    pthread_mutex_unlock(&c->lock);
    return woken;
}

bool channel_sleep(struct channel *c, double seconds)
{
    unsigned before = atomic_load(&c->wakes);
    /* Also waits for whoever brought news and was sent to sleep with the lock: channel_next would find nothing until
     * then, and the caller be back at once, over and over. */
    if (take_woken(c) || atomic_load(&c->news) != 0 || seconds == 0)
        return true;
    atomic_store(&c->sleeping, true);
    bool ok = atomic_load(&c->news) != 0 || sleep_while(c, before, seconds);
    atomic_store(&c->sleeping, false);
    return ok;
}
