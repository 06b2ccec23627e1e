/* Time that never jumps. */
#ifndef BULKJOB_CLOCK_H
#define BULKJOB_CLOCK_H

#include <time.h>

/* Seconds since some fixed moment. */
static inline double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
