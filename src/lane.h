/* Who may connect now. Each origin ("https://host:port") has a lane, in which transfers are under way or wait for a
 * place. Plain data: no thread, no clock, no libcurl.
 *
 * A transfer enters with the max_connections of its client. Of those that entered with the same number, at most so many
 * are under way; of all together, at most the largest number that anybody in the lane has. So a client with 1 never
 * makes a client with 8 wait, and 100 clients with 8 have no more than 8 under way between them. Among those that may
 * go, the one that came first goes first. */
#ifndef BULKJOB_LANE_H
#define BULKJOB_LANE_H

#include <stdbool.h>

struct lane;
struct lane_group;

enum { LANE_BUCKETS = 256 };

struct lanes {
    struct lane *buckets[LANE_BUCKETS];
    unsigned long long entered; /* how many came in so far */
};

/* A part of whatever needs a place. All zero: in no lane. */
struct place {
    void *owner;
    struct lane *lane; /* NULL: in none */
    struct lane_group *group;
    bool under_way;
    unsigned long long number; /* smaller: came earlier */
    struct place *next;        /* among those of its group that wait */
    struct place **at;
};

/* Waits in the lane of the URL's origin; `most` is at least 1. False: out of memory, and it is in no lane. */
bool lane_enter(struct lanes *all, struct place *p, const char *url, long most);

/* The next one that may go, under way from now on; NULL: nobody. */
struct place *lane_next(struct lane *l);

/* Leaves, from under way or from waiting. A lane that nobody is left in is freed. Answers the lane, in which somebody
 * may be able to go now, or NULL when it is gone. */
struct lane *lane_leave(struct lanes *all, struct place *p);

#endif
