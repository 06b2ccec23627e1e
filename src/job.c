#include "job.h"

#include <ctype.h>
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
    return s > STATE_UNKNOWN && (int)s < STATES ? state_names[s] : NULL;
}

bool job_state_is_final(enum job_state s)
{
    return s == STATE_JOB_COMPLETE || s == STATE_FAILED || s == STATE_ABORTED;
}

bool same_code(const char *a, const char *b)
{
    for (;;) {
        while (*a == '_')
            a++;
        while (*b == '_')
            b++;
        if (toupper((unsigned char)*a) != toupper((unsigned char)*b))
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

/* Locks fight and then let go: the only refusals of a request that time heals. */
static bool is_lock_failure(const char *code)
{
    return code && (same_code(code, "UNABLE_TO_LOCK_ROW") || same_code(code, "TooManyLockFailure"));
}

/* Failures before the request that no repetition mends: our own settings, or our own memory. */
static bool is_local_failure(CURLcode curl)
{
    switch (curl) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return true;
    default:
        return false;
    }
}

enum outcome outcome_of(CURLcode curl, bool request_sent, long status, const char *code)
{
    if (status / 100 <= 1 || (curl != CURLE_OK && status / 100 == 2)) {
        if (request_sent)
            return OUTCOME_LOST;
        return is_local_failure(curl) ? OUTCOME_BROKEN : OUTCOME_NOT_APPLIED;
    }
    switch (status) {
    case 420:
    case 429:
        return OUTCOME_NOT_APPLIED;
    case 408:
    case 500:
    case 502:
    case 503:
    case 504:
        return OUTCOME_LOST;
    case 401:
        /* This one means that what was sent is no token at all. */
        return code && same_code(code, "INVALID_AUTH_HEADER") ? OUTCOME_REFUSED : OUTCOME_DEAD_TOKEN;
    default:
        break;
    }
    if (status / 100 == 2)
        return OUTCOME_OK;
    if (code && same_code(code, "INVALIDSESSIONID"))
        return OUTCOME_DEAD_TOKEN;
    return is_lock_failure(code) ? OUTCOME_NOT_APPLIED : OUTCOME_REFUSED;
}

void verb_begin(struct verb_run *r, enum verb verb, const struct retry_policy *policy, double now)
{
    memset(r, 0, sizeof *r);
    r->verb = verb;
    r->step = STEP_SEND;
    r->policy = *policy;
    r->started = now;
}

static enum plan send_step(struct verb_run *r, enum step step, double pause)
{
    if (step != r->step)
        r->failures = 0;
    r->step = step;
    r->pause = pause;
    return PLAN_SEND;
}

static enum plan give_up(struct verb_run *r)
{
    r->failed = true;
    return PLAN_FAIL;
}

/* The step at hand once more, if the policy allows. */
static enum plan again(struct verb_run *r, const struct answer *a, double now, double dice)
{
    double pause;
    if (!retry_allowed(&r->policy, r->failures, now - r->started, a->retry_after, dice, &pause))
        return give_up(r);
    return send_step(r, r->step, pause);
}

/* A close is done when the job is past Open, whoever moved it on since. That is only our doing when a send of ours may
 * have had its effect; without one, a job that runs already is not in the state that was asked for (seed: the service
 * says INVALIDJOBSTATE). */
static bool reached(const struct verb_run *r, enum job_state s)
{
    if (r->verb == VERB_ABORT)
        return s == STATE_ABORTED;
    return s == STATE_UPLOAD_COMPLETE || (r->lost && (s == STATE_IN_PROGRESS || s == STATE_JOB_COMPLETE));
}

/* The state the verb starts from: nothing has happened yet. */
static bool not_yet(const struct verb_run *r, enum job_state s)
{
    if (r->verb == VERB_ABORT)
        return s == STATE_OPEN || s == STATE_UPLOAD_COMPLETE || s == STATE_IN_PROGRESS;
    return s == STATE_OPEN;
}

static enum plan after_read_back(struct verb_run *r, const struct answer *a, double now, double dice)
{
    switch (a->outcome) {
    case OUTCOME_OK:
        break;
    case OUTCOME_LOST:
    case OUTCOME_NOT_APPLIED:
        r->failures++;
        return again(r, a, now, dice);
    default:
        return give_up(r);
    }
    r->in_doubt = false;
    if (reached(r, a->state))
        return PLAN_DONE;
    if (!not_yet(r, a->state))
        return PLAN_FAIL_STATE;
    if (r->wrong_state || r->sends >= r->policy.tries)
        return r->wrong_state ? PLAN_FAIL_STATE : give_up(r);
    return send_step(r, STEP_SEND, 0);
}

static enum plan after_patch(struct verb_run *r, const struct answer *a, double now, double dice)
{
    double pause = 0;
    r->wrong_state = a->wrong_state;
    switch (a->outcome) {
    case OUTCOME_OK:
        return PLAN_DONE;
    case OUTCOME_REFUSED:
        if (a->wrong_state)
            return send_step(r, STEP_READ_BACK, 0);
        return give_up(r);
    case OUTCOME_LOST:
        r->lost = r->in_doubt = true;
        break;
    case OUTCOME_NOT_APPLIED:
        break;
    default:
        return give_up(r);
    }
    /* The pause is the same as for a plain repetition. After the last send there is nothing to repeat, but the state is
     * still worth a look. */
    if (!retry_allowed(&r->policy, r->sends, now - r->started, a->retry_after, dice, &pause)) {
        if (!r->lost)
            return give_up(r);
        pause = 0;
    }
    return send_step(r, STEP_READ_BACK, pause);
}

static enum plan after_upload(struct verb_run *r, const struct answer *a, double now, double dice)
{
    switch (a->outcome) {
    case OUTCOME_OK:
        return PLAN_DONE;
    case OUTCOME_LOST:
        r->lost = true;
        r->whole_sent = r->whole_sent || a->whole_sent;
        break;
    case OUTCOME_NOT_APPLIED:
        break;
    case OUTCOME_REFUSED:
        /* A job takes one PUT. If one of ours went out whole and its answer was lost, then this refusal is that answer:
         * a body that arrived in part is no body for HTTP. */
        if (a->has_contents && r->whole_sent)
            return PLAN_DONE;
        return give_up(r);
    default:
        return give_up(r);
    }
    if (!a->can_repeat)
        return give_up(r);
    r->failures++;
    return again(r, a, now, dice);
}

static enum plan after_delete(struct verb_run *r, const struct answer *a, double now, double dice)
{
    if (a->outcome == OUTCOME_OK || (a->not_found && r->lost))
        return PLAN_DONE;
    if (a->outcome == OUTCOME_LOST)
        r->lost = true;
    else if (a->outcome != OUTCOME_NOT_APPLIED)
        return give_up(r);
    r->failures++;
    return again(r, a, now, dice);
}

static enum plan after_read(struct verb_run *r, const struct answer *a, double now, double dice)
{
    if (a->outcome == OUTCOME_OK)
        return PLAN_DONE;
    if (a->outcome != OUTCOME_LOST && a->outcome != OUTCOME_NOT_APPLIED)
        return give_up(r);
    r->failures++;
    return again(r, a, now, dice);
}

/* The end of a create, once it is clear: jobs that lost answers left behind go first. */
static enum plan tidy_up(struct verb_run *r, bool failed)
{
    r->failed = failed;
    return PLAN_TIDY;
}

static enum plan after_create(struct verb_run *r, const struct answer *a, double now, double dice)
{
    double pause = 0;
    bool may_repeat;
    switch (a->outcome) {
    case OUTCOME_OK:
        return tidy_up(r, false);
    case OUTCOME_LOST:
    case OUTCOME_NOT_APPLIED:
        break;
    default:
        return tidy_up(r, true);
    }
    may_repeat = retry_allowed(&r->policy, r->sends, now - r->started, a->retry_after, dice, &pause);
    if (a->outcome == OUTCOME_LOST) {
        r->lost = true;
        r->in_doubt = r->verb == VERB_CREATE_FULL;
        r->failed = !may_repeat || r->in_doubt;
        return send_step(r, STEP_LIST, pause);
    }
    if (may_repeat)
        return send_step(r, STEP_SEND, pause);
    return tidy_up(r, true);
}

static enum plan after_list(struct verb_run *r, const struct answer *a, double now, double dice)
{
    if (a->outcome == OUTCOME_LOST || a->outcome == OUTCOME_NOT_APPLIED) {
        r->failures++;
        return again(r, a, now, dice);
    }
    if (a->outcome != OUTCOME_OK)
        return give_up(r);
    if (r->failed)
        return tidy_up(r, true);
    return send_step(r, STEP_SEND, 0);
}

enum plan verb_next(struct verb_run *r, const struct answer *a, double now, double dice)
{
    if (r->step == STEP_SEND)
        r->sends++;
    if (a->outcome == OUTCOME_DEAD_TOKEN && !r->token_renewed && (r->verb != VERB_UPLOAD || a->can_repeat)) {
        r->token_renewed = true;
        r->pause = 0;
        return PLAN_TOKEN;
    }
    switch (r->step) {
    case STEP_READ_BACK:
        return after_read_back(r, a, now, dice);
    case STEP_LIST:
        return after_list(r, a, now, dice);
    case STEP_ABORT_STRAY:
        return PLAN_TIDY;
    case STEP_SEND:
        break;
    }
    switch (r->verb) {
    case VERB_CLOSE:
    case VERB_ABORT:
        return after_patch(r, a, now, dice);
    case VERB_UPLOAD:
        return after_upload(r, a, now, dice);
    case VERB_DELETE:
        return after_delete(r, a, now, dice);
    case VERB_CREATE:
    case VERB_CREATE_FULL:
        return after_create(r, a, now, dice);
    case VERB_READ:
    case VERB_QUERY:
        break;
    }
    return after_read(r, a, now, dice);
}

bool verb_in_doubt(const struct verb_run *r, bool sent)
{
    bool runs_then = r->verb == VERB_CLOSE || r->verb == VERB_ABORT || r->verb == VERB_CREATE_FULL;
    return r->in_doubt || (sent && runs_then && r->step == STEP_SEND);
}
