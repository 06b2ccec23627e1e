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

/* `seconds` for poll(2), rounded up so that it never wakes too early; a minute at most. */
static inline int clock_poll_ms(double seconds)
{
    double ms = seconds * 1000;
    if (ms <= 0)
        return 0;
    return ms > 60000 ? 60000 : (int)ms + 1;
}

/* The sooner of two moments, of which a negative one is none. */
static inline double clock_sooner(double a, double b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

#endif
