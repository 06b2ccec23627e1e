#include "channel.h"

#include "clock.h"
#include "transfer.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct channel *channel_new(void)
{
    struct channel *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    atomic_init(&c->news, 0);
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
    if (c->has_socket)
        wakeup_close(&c->wakeup);
    c->has_socket = false;
    pthread_mutex_unlock(&c->lock);
}

void channel_wake(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->wakeup.write_fd >= 0)
        send_wakeup(c);
    else
        c->woken = true;
    pthread_mutex_unlock(&c->lock);
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

bool channel_sleep(struct channel *c, double seconds)
{
    struct pollfd p = {.events = POLLIN};
    if (atomic_load_explicit(&c->news, memory_order_acquire) != 0) {
        /* Whoever brought it may have been sent to sleep with the lock, by the waking of this very thread: channel_next
         * would find nothing until then, and the caller be back at once, over and over. */
        pthread_mutex_lock(&c->lock);
        pthread_mutex_unlock(&c->lock);
        return true;
    }
    if (seconds == 0)
        return true;
    p.fd = channel_fd(c);
    if (p.fd < 0)
        return false;
    poll(&p, 1, seconds < 0 ? -1 : clock_poll_ms(seconds));
    return true;
}
