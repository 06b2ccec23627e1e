/* Whether to try again, and when. Pure: the clock and the random number are arguments. */
#ifndef BULKJOB_RETRY_H
#define BULKJOB_RETRY_H

#include <stdbool.h>
#include <time.h>

struct retry_policy {
    int tries;   /* requests in all, the first one counted */
    double base; /* seconds; the longest first pause */
    double cap;  /* seconds; the longest pause that doubling reaches */
};

/* 5 tries, 1 s, 30 s. */
extern const struct retry_policy retry_default;

/* May a request that failed `failures` times in a row, with `paused` seconds of pauses between, be sent again? How long
 * each try took does not count: an upload that breaks after hours is sent again, and so is the next one. If so *pause
 * is how many seconds to wait first: full jitter (`random` from 0 to below 1) under an exponential ceiling, never less
 * than the `retry_after` seconds the service asked for (negative: it did not ask). A service that asks for more than
 * ten minutes gets no answer from somebody who is waiting: false, and the caller reports the wish. */
bool retry_allowed(const struct retry_policy *p, int failures, double paused, double retry_after, double random,
                   double *pause);

/* The seconds to wait that a Retry-After header asks for, in either of its forms (RFC 9110, 10.2.3: seconds, or a
 * date); -1 when it is neither. `len` bytes, not NUL-terminated. */
double retry_after_seconds(const char *value, size_t len, time_t now);

#endif
