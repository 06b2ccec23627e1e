#include "job.h"

#include <string.h>

static const char *const state_names[] = {
    [STATE_OPEN] = "Open",
    [STATE_UPLOAD_COMPLETE] = "UploadComplete",
    [STATE_IN_PROGRESS] = "InProgress",
    [STATE_JOB_COMPLETE] = "JobComplete",
    [STATE_FAILED] = "Failed",
    [STATE_ABORTED] = "Aborted",
};

enum { STATES = sizeof state_names / sizeof state_names[0] };

enum job_state job_state_from(const char *name)
{
    for (int i = STATE_OPEN; i < STATES; i++)
        if (strcmp(name, state_names[i]) == 0)
            return (enum job_state)i;
    return STATE_UNKNOWN;
}

const char *job_state_name(enum job_state s)
{
    return (size_t)s < STATES ? state_names[s] : NULL;
}

bool verb_commits(enum verb verb)
{
    return verb == VERB_CLOSE || verb == VERB_ABORT || verb == VERB_CREATE_FULL;
}

void verb_begin(struct verb_run *r, enum verb verb, const struct retry_policy *policy, bool renewable)
{
    memset(r, 0, sizeof *r);
    r->verb = verb;
    r->step = STEP_SEND;
    r->policy = *policy;
    r->renewable = renewable;
}

static enum plan send_step(struct verb_run *r, enum step step, double pause)
{
    if (step != r->step)
        r->failures = 0;
    r->step = step;
    r->pause = pause;
    r->paused += pause;
    return PLAN_SEND;
}

/* May there be another request after so many failures, and after which pause? */
static bool may_retry(const struct verb_run *r, int failures, const struct answer *a, double random, double *pause)
{
    return retry_allowed(&r->policy, failures, r->paused, a->retry_after, random, pause);
}

/* The step at hand once more, if the policy allows. */
static enum plan again(struct verb_run *r, const struct answer *a, double random)
{
    double pause;
    int failures = r->step == STEP_SEND ? r->sends : ++r->failures;
    if (a->outcome != OUTCOME_RETRY || !may_retry(r, failures, a, random, &pause))
        return PLAN_FAIL;
    return send_step(r, r->step, pause);
}

/* A close is done when the job is past Open, whoever moved it on since: only a close leads there. */
static bool is_reached(const struct verb_run *r, enum job_state s)
{
    if (r->verb == VERB_ABORT)
        return s == STATE_ABORTED;
    return s == STATE_UPLOAD_COMPLETE || s == STATE_IN_PROGRESS || s == STATE_JOB_COMPLETE || s == STATE_FAILED;
}

/* Can the verb still be had in this state? */
static bool is_before(const struct verb_run *r, enum job_state s)
{
    if (r->verb == VERB_ABORT)
        return s == STATE_OPEN || s == STATE_UPLOAD_COMPLETE || s == STATE_IN_PROGRESS;
    return s == STATE_OPEN;
}

static enum plan after_read_back(struct verb_run *r, const struct answer *a, double random)
{
    double pause = 0;
    if (a->not_found) {
        r->gone = true; /* and a request that is still on its way may have had its effect before */
        return PLAN_FAIL_STATE;
    }
    if (a->outcome != OUTCOME_OK)
        return again(r, a, random);
    if (is_before(r, a->state)) {
        /* A request that was lost may still arrive, so it stays in doubt. */
        if (r->spent)
            return PLAN_FAIL;
        /* After a lost request the pause was before this look. */
        if (r->wrong_state && !may_retry(r, r->sends, a, random, &pause))
            return PLAN_FAIL_STATE;
        return send_step(r, STEP_SEND, pause);
    }
    /* What is still on its way can do nothing more; of a state that this version does not know nobody can say so. */
    r->in_doubt = r->in_doubt && a->state == STATE_UNKNOWN;
    return is_reached(r, a->state) ? PLAN_DONE : PLAN_FAIL_STATE;
}

static enum plan after_patch(struct verb_run *r, const struct answer *a, double random)
{
    double pause = 0;
    r->wrong_state = a->wrong_state;
    if (a->outcome == OUTCOME_OK) {
        r->in_doubt = false;
        return PLAN_DONE;
    }
    if (!r->in_doubt && !a->wrong_state)
        return again(r, a, random);
    /* The state tells more than another try. After the last send there is nothing to repeat, but the state is still
     * worth a look. */
    bool more = may_retry(r, r->sends, a, random, &pause);
    bool refused = a->outcome != OUTCOME_RETRY && !a->lost;
    r->spent = !a->wrong_state && (!more || refused);
    if (a->wrong_state || !more)
        pause = 0;
    return send_step(r, STEP_READ_BACK, pause);
}

static enum plan after_upload(struct verb_run *r, const struct answer *a, double random)
{
    if (a->outcome == OUTCOME_OK)
        return PLAN_DONE;
    if (a->has_contents && a->contents_ours)
        return PLAN_DONE_EARLIER;
    return a->can_repeat ? again(r, a, random) : PLAN_FAIL;
}

static enum plan after_delete(struct verb_run *r, const struct answer *a, double random)
{
    if (a->outcome == OUTCOME_OK)
        return PLAN_DONE;
    if (a->not_found && r->lost_sends > 0)
        return PLAN_DONE_EARLIER;
    return again(r, a, random);
}

/* A create without data is sent again: a job that is Open and empty can process nothing. One with data would run twice,
 * and there is no id to look for. */
static enum plan after_other(struct verb_run *r, const struct answer *a, double random)
{
    if (a->outcome == OUTCOME_OK)
        return PLAN_DONE;
    return r->in_doubt ? PLAN_FAIL : again(r, a, random);
}

enum plan verb_next(struct verb_run *r, const struct answer *a, double random)
{
    if (r->step == STEP_SEND) {
        r->sends++;
        r->lost_sends += a->lost;
        r->in_doubt = r->in_doubt || (a->lost && verb_commits(r->verb));
    }
    if (a->outcome == OUTCOME_OK)
        r->paused = 0;
    if (a->over)
        return PLAN_FAIL;
    if (a->outcome == OUTCOME_DEAD_TOKEN && r->renewable && !r->token_renewed &&
        !(r->verb == VERB_UPLOAD && !a->can_repeat) && !(r->verb == VERB_CREATE_FULL && r->in_doubt)) {
        r->token_renewed = true;
        r->pause = 0;
        return PLAN_TOKEN;
    }
    if (r->step == STEP_READ_BACK)
        return after_read_back(r, a, random);
    switch (r->verb) {
    case VERB_CLOSE:
    case VERB_ABORT:
        return after_patch(r, a, random);
    case VERB_UPLOAD:
        return after_upload(r, a, random);
    case VERB_DELETE:
        return after_delete(r, a, random);
    case VERB_READ:
    case VERB_QUERY:
    case VERB_CREATE:
    case VERB_CREATE_FULL:
        break;
    }
    return after_other(r, a, random);
}

bool verb_would_doubt(const struct verb_run *r, bool out)
{
    return r->in_doubt || (out && verb_commits(r->verb) && r->step == STEP_SEND);
}

bool bodies_are(const struct bodies *b, const char *digest)
{
    return b->whole > 0 && !b->differ && strcmp(b->digest, digest) == 0;
}

void bodies_add(struct bodies *b, const char *digest)
{
    if (b->whole == 0)
        memcpy(b->digest, digest, sizeof b->digest);
    b->whole++;
    b->differ = b->differ || !bodies_are(b, digest);
}
