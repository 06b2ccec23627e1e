/* A bounded queue of bytes between the host's thread and the engine's: what keeps memory flat when one side is faster.
 */
#ifndef BULKJOB_QUEUE_H
#define BULKJOB_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct queue {
    pthread_mutex_t lock;
    char *data;
    size_t cap;
    size_t head;       /* where the first byte is */
    size_t len;        /* bytes in the queue */
    bool ended;        /* the writer has said that no more comes */
    bool writer_waits; /* it found no room and sleeps until half of the queue is free */
    bool reader_waits; /* it found nothing and sleeps until there is something */
};

/* False when out of memory. */
bool queue_init(struct queue *q, size_t cap);
void queue_free(struct queue *q);

/* Puts in as much of the data as fits (with `whole`, all of it or nothing), and answers how much that was. When that is
 * not all, the writer counts as waiting. *wake: the reader was waiting and has to be told. */
size_t queue_put(struct queue *q, const char *data, size_t n, bool whole, bool *wake);

/* Takes out at most `n` bytes. When there are none yet, the reader counts as waiting. *ended: the queue is empty and
 * nothing more comes. *wake: the writer was waiting and has to be told. */
size_t queue_take(struct queue *q, char *out, size_t n, bool *ended, bool *wake);

/* No more comes. True when the reader was waiting and has to be told. */
bool queue_end(struct queue *q);

/* Is that side still waiting to be told? */
bool queue_writer_waits(struct queue *q);
bool queue_reader_waits(struct queue *q);

/* Nothing in it, and nothing more comes. */
bool queue_is_drained(struct queue *q);

#endif
