/* The job protocol: what an answer means, and what to send next. Pure: no I/O, no clock, no Lua. The facts of the
 * service behind it are in the Bulk API 2.0 guide; "seed" below is its page "Close or Abort a Job". */
#ifndef BULKJOB_JOB_H
#define BULKJOB_JOB_H

#include "retry.h"

#include <curl/curl.h>
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
/* JobComplete, Failed, Aborted: the service changes nothing more. */
bool job_state_is_final(enum job_state s);

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
    STEP_SEND,        /* the verb itself */
    STEP_READ_BACK,   /* which state did a close or abort leave? */
    STEP_LIST,        /* did a create whose answer was lost make a job? */
    STEP_ABORT_STRAY, /* it did: that one is rolled back */
};

/* How one request ended. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_REFUSED,     /* a clear no: asking again changes nothing */
    OUTCOME_DEAD_TOKEN,  /* refused before work began, for the token's sake */
    OUTCOME_NOT_APPLIED, /* surely had no effect, and may do better later */
    OUTCOME_LOST,        /* may have had its effect; nobody knows */
    OUTCOME_BROKEN,      /* our own side failed: a file, memory, a cancel */
};

/* The facts of one answer, as far as the protocol cares. */
struct answer {
    enum outcome outcome;
    enum job_state state; /* in the body */
    bool not_found;       /* 404 */
    bool wrong_state;     /* INVALIDJOBSTATE */
    bool has_contents;    /* "Found multiple contents for job" */
    bool whole_sent;      /* the whole body of the request went out */
    bool can_repeat;      /* that body can be sent again */
    double retry_after;   /* seconds; negative: not asked for */
};

/* One verb on its way. */
struct verb_run {
    enum verb verb;
    enum step step;
    struct retry_policy policy;
    double started;
    int sends;    /* times the verb itself was sent */
    int failures; /* of the step at hand, in a row */
    bool token_renewed;
    bool lost;        /* an earlier send may have had its effect */
    bool whole_sent;  /* an earlier lost send had gone out whole */
    bool wrong_state; /* the service refused the last send with INVALIDJOBSTATE */
    bool in_doubt;    /* nobody knows whether a send took effect, and the job may run if it did */
    bool failed;      /* the verb has failed; what is left is tidying up */
    double pause;     /* seconds before the next request */
};

enum plan {
    PLAN_SEND,       /* send the request of `step` after `pause` seconds */
    PLAN_TOKEN,      /* get a new token, then send the request of `step` */
    PLAN_DONE,       /* succeeded */
    PLAN_FAIL,       /* failed */
    PLAN_FAIL_STATE, /* failed: the job is in a state from which this cannot be had */
    PLAN_TIDY,       /* a create is over: abort the next stray if there is one, else done or failed as `failed` says */
};

void verb_begin(struct verb_run *r, enum verb verb, const struct retry_policy *policy, double now);

/* What next, after this answer. Updates `step` and `pause`. `dice`: from 0 to below 1. */
enum plan verb_next(struct verb_run *r, const struct answer *a, double now, double dice);

/* Would nobody know whether the verb took effect, and may the job run if it did, when it were given up now? `sent`: a
 * request is out. */
bool verb_in_doubt(const struct verb_run *r, bool sent);

/* The outcome by HTTP and libcurl alone, before the body is looked at. `code` is the service's error code, or NULL. A
 * status below 200 means that no answer came. */
enum outcome outcome_of(CURLcode curl, bool request_sent, long status, const char *code);

/* Equal as error codes: case and underscores do not count (the guide, the REST layer and Bulk 2.0 spell them
 * differently). */
bool same_code(const char *a, const char *b);

#endif
