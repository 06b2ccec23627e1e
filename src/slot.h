/* Who may connect now. A transfer needs one of the connection slots of its origin ("https://host:port"), and waits
 * while none is free. Plain data: no thread, no clock, no libcurl.
 *
 * A transfer asks with the max_connections of its client. Of those that asked with the same number, at most so many
 * have a slot; of all together, at most the largest number that anybody at this origin has. So a client with 1 never
 * makes a client with 8 wait, and 100 clients with 8 have no more than 8 slots between them. Among those that may go,
 * the one that came first goes first. */
#ifndef BULKJOB_SLOT_H
#define BULKJOB_SLOT_H

#include <stdbool.h>

struct origin;
struct origin_group;

enum { ORIGIN_BUCKETS = 256 };

struct origins {
    struct origin *buckets[ORIGIN_BUCKETS];
    unsigned long long entered; /* how many came in so far */
};

/* A part of whatever needs a slot. All zero: it has none, and waits for none. */
struct slot {
    void *owner;
    struct origin *origin; /* NULL: none */
    struct origin_group *group;
    bool under_way;
    unsigned long long number; /* smaller: came earlier */
    struct slot *next;         /* among those of its group that wait */
    struct slot **at;
};

/* Waits for a slot of the URL's origin; `most` is at least 1. False: out of memory, and it does not wait. */
bool slot_request(struct origins *all, struct slot *p, const char *url, long most);

/* The next one that may go, under way from now on; NULL: nobody. */
struct slot *slot_next(struct origin *o);

/* Gives the slot back, or stops waiting. An origin that nobody is left at is freed. Answers the origin, at which
 * somebody may be able to go now, or NULL when it is gone. */
struct origin *slot_release(struct origins *all, struct slot *p);

#endif
