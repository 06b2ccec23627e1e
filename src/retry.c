#include "retry.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

const struct retry_policy retry_default = {.tries = 5, .base = 1, .cap = 30};

/* Seconds: no pause is longer, and neither are all pauses of a request together. */
static const double LONGEST_RETRY_AFTER = 600;
static const double LONGEST_ALL = 3600;

bool retry_allowed(const struct retry_policy *p, int failures, double paused, double retry_after, double random,
                   double *pause)
{
    if (failures >= p->tries || retry_after > LONGEST_RETRY_AFTER)
        return false;
    double ceiling = p->base;
    for (int i = 1; i < failures && ceiling < p->cap; i++)
        ceiling *= 2;
    if (ceiling > p->cap)
        ceiling = p->cap;
    *pause = ceiling * random;
    if (*pause < retry_after)
        *pause = retry_after;
    return paused + *pause <= LONGEST_ALL;
}

double retry_after_seconds(const char *value, size_t len, time_t now)
{
    char text[64];
    if (len == 0 || len >= sizeof text)
        return -1;
    memcpy(text, value, len);
    text[len] = '\0';
    char *end;
    if (strspn(text, "0123456789") == len) {
        double seconds = (double)strtoull(text, &end, 10);
        return seconds;
    }
    time_t at = curl_getdate(text, NULL);
    if (at == (time_t)-1)
        return -1;
    return at > now ? (double)(at - now) : 0;
}
