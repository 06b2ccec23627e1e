/* The job protocol: what to send next, given what came of the last request. Pure: no I/O, no clock, no libcurl, no
 * Lua. The facts of the service behind it are in the Bulk API 2.0 guide; "seed" below is its page "Close or Abort a
 * Job". */
#ifndef BULKJOB_JOB_H
#define BULKJOB_JOB_H

#include "digest.h"
#include "retry.h"

#include <stdbool.h>
#include <stddef.h>

enum job_kind { JOB_UNKNOWN, JOB_INGEST, JOB_QUERY };

enum job_state {
    STATE_UNKNOWN, /* none, or one that this version does not know */
    STATE_OPEN,
    STATE_UPLOAD_COMPLETE,
    STATE_IN_PROGRESS,
    STATE_JOB_COMPLETE,
    STATE_FAILED,
    STATE_ABORTED,
};

/* As the service spells it, to the enum and back (NULL for unknown). */
enum job_state job_state_from(const char *name);
const char *job_state_name(enum job_state s);

/* What a user asked for. */
enum verb {
    VERB_READ,        /* any GET */
    VERB_CREATE,      /* an ingest job, Open and empty */
    VERB_CREATE_FULL, /* an ingest job with its data, which runs at once */
    VERB_QUERY,       /* a query job: it changes nothing, so a second one does no harm */
    VERB_UPLOAD,
    VERB_CLOSE,
    VERB_ABORT,
    VERB_DELETE,
};

/* The requests a verb may need. */
enum step {
    STEP_SEND,      /* the verb itself */
    STEP_READ_BACK, /* which state did a close or abort leave? */
};

/* How one request ended, as far as another try goes. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_FAILED,     /* another try changes nothing */
    OUTCOME_DEAD_TOKEN, /* refused because of the token */
    OUTCOME_RETRY,      /* another try may do better */
};

/* The facts of one response, as far as the protocol cares. */
struct answer {
    enum outcome outcome;
    bool sent; /* at least a part of the request went out */
    bool lost; /* it went out, and the service did not clearly answer: it may have its effect, now or later */
    bool over; /* the time of the whole call is used up */
    enum job_state state; /* in the body */
    bool not_found;       /* the service says 404 */
    bool wrong_state;     /* INVALIDJOBSTATE */
    bool has_contents;    /* the service has data of this job already ("Found multiple contents for job") */
    bool contents_ours;   /* and they are the data of this upload */
    bool can_repeat;      /* the body of the request can be sent again */
    double retry_after;   /* seconds; negative: not asked for */
};

/* One verb on its way. */
struct verb_run {
    enum verb verb;
    enum step step;
    struct retry_policy policy;
    bool renewable; /* a new token can be had */
    double paused;  /* seconds of pauses between the failures in a row */
    int sends;      /* times the verb itself was sent */
    int lost_sends; /* of these, the ones that were not clearly answered */
    int failures;   /* of the step at hand, in a row */
    bool token_renewed;
    bool wrong_state; /* the service refused the last send with INVALIDJOBSTATE */
    bool spent;       /* a close or abort is not sent again: it was refused for good, or there are no more tries */
    bool gone;        /* the job is not there any more */
    bool in_doubt;    /* a close, an abort or a create with data was sent and may still have its effect */
    double pause;     /* seconds before the next request */
};

enum plan {
    PLAN_SEND,         /* send the request of `step` after `pause` seconds */
    PLAN_TOKEN,        /* get a new token, then send the request of `step` */
    PLAN_DONE,         /* succeeded, and the response at hand is the result */
    PLAN_DONE_EARLIER, /* succeeded: this refusal shows that an earlier request had its effect */
    PLAN_FAIL,         /* failed, with the error of the last request of the verb itself */
    PLAN_FAIL_STATE,   /* failed: the job is in a state from which this cannot be had, or gone */
};

/* Can this verb have an effect that a later request cannot take back? Then it may be in doubt. */
bool verb_commits(enum verb verb);

void verb_begin(struct verb_run *r, enum verb verb, const struct retry_policy *policy, bool renewable);

/* What next, after this response? Updates `step` and `pause`. `random`: from 0 to below 1. */
enum plan verb_next(struct verb_run *r, const struct answer *a, double random);

/* Would the verb be in doubt if it were given up now? `out`: a request of it is under way. */
bool verb_would_doubt(const struct verb_run *r, bool out);

/* The bodies of uploads to one job that went out whole and may have arrived. */
struct bodies {
    int whole;
    bool differ;                      /* they were not all the same */
    char digest[DIGEST_BODY_HEX + 1]; /* of the first */
};

void bodies_add(struct bodies *b, const char *digest);

/* Are they all this one? */
bool bodies_are(const struct bodies *b, const char *digest);

#endif
