#include "queue.h"

#include <stdlib.h>
#include <string.h>

bool queue_init(struct queue *q, size_t cap)
{
    memset(q, 0, sizeof *q);
    q->data = malloc(cap);
    if (!q->data)
        return false;
    if (pthread_mutex_init(&q->lock, NULL) != 0) {
        free(q->data);
        q->data = NULL;
        return false;
    }
    q->cap = cap;
    return true;
}

void queue_free(struct queue *q)
{
    if (!q->data)
        return;
    pthread_mutex_destroy(&q->lock);
    free(q->data);
    q->data = NULL;
}

static bool take_flag(bool *flag)
{
    bool was = *flag;
    *flag = false;
    return was;
}

size_t queue_put(struct queue *q, const char *data, size_t n, bool whole, bool *wake)
{
    pthread_mutex_lock(&q->lock);
    size_t room = q->cap - q->len;
    size_t put = n <= room ? n : whole ? 0 : room;
    if (put) {
        size_t tail = (q->head + q->len) % q->cap;
        size_t first = q->cap - tail < put ? q->cap - tail : put;
        memcpy(q->data + tail, data, first);
        memcpy(q->data, data + first, put - first);
        q->len += put;
    }
    if (put < n)
        q->writer_waits = true;
    *wake = q->len > 0 && take_flag(&q->reader_waits);
    pthread_mutex_unlock(&q->lock);
    return put;
}

size_t queue_take(struct queue *q, char *out, size_t n, bool *ended, bool *wake)
{
    pthread_mutex_lock(&q->lock);
    size_t took = n < q->len ? n : q->len;
    if (took) {
        size_t first = q->cap - q->head < took ? q->cap - q->head : took;
        memcpy(out, q->data + q->head, first);
        memcpy(out + first, q->data, took - first);
        q->head = (q->head + took) % q->cap;
        q->len -= took;
    } else if (!q->ended) {
        q->reader_waits = true;
    }
    *ended = q->ended && q->len == 0;
    *wake = q->len <= q->cap / 2 && take_flag(&q->writer_waits);
    pthread_mutex_unlock(&q->lock);
    return took;
}

bool queue_end(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->ended = true;
    bool wake = take_flag(&q->reader_waits);
    pthread_mutex_unlock(&q->lock);
    return wake;
}

static bool read_flag(struct queue *q, const bool *flag)
{
    pthread_mutex_lock(&q->lock);
    bool is = *flag;
    pthread_mutex_unlock(&q->lock);
    return is;
}

bool queue_writer_waits(struct queue *q)
{
    return read_flag(q, &q->writer_waits);
}

bool queue_reader_waits(struct queue *q)
{
    return read_flag(q, &q->reader_waits);
}

bool queue_is_drained(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool drained = q->ended && q->len == 0;
    pthread_mutex_unlock(&q->lock);
    return drained;
}
