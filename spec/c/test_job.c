#include "../../src/job.h"

#include "check.h"

#include <string.h>

static const struct retry_policy policy = {.tries = 3, .base = 1, .cap = 4};

static struct verb_run run;

static enum plan next(struct answer a)
{
    return verb_next(&run, &a, 10, 0.5);
}

static void begin(enum verb verb)
{
    verb_begin(&run, verb, &policy, 0);
}

#define OK                                       \
    {                                            \
        .outcome = OUTCOME_OK, .retry_after = -1 \
    }
#define LOST                                                           \
    {                                                                  \
        .outcome = OUTCOME_LOST, .retry_after = -1, .can_repeat = true \
    }
#define REFUSED                                       \
    {                                                 \
        .outcome = OUTCOME_REFUSED, .retry_after = -1 \
    }
#define NOT_APPLIED                                                           \
    {                                                                         \
        .outcome = OUTCOME_NOT_APPLIED, .retry_after = -1, .can_repeat = true \
    }
#define DEAD_TOKEN                                                           \
    {                                                                        \
        .outcome = OUTCOME_DEAD_TOKEN, .retry_after = -1, .can_repeat = true \
    }

static enum plan next_state(enum job_state state)
{
    struct answer a = OK;
    a.state = state;
    return next(a);
}

static void test_outcomes(void)
{
    CHECK(outcome_of(CURLE_OK, true, 200, NULL) == OUTCOME_OK);
    CHECK(outcome_of(CURLE_OK, true, 204, NULL) == OUTCOME_OK);
    CHECK(outcome_of(CURLE_OK, true, 400, "INVALIDJOBSTATE") == OUTCOME_REFUSED);
    CHECK(outcome_of(CURLE_OK, true, 401, "INVALID_SESSION_ID") == OUTCOME_DEAD_TOKEN);
    CHECK(outcome_of(CURLE_OK, true, 401, "INVALID_AUTH_HEADER") == OUTCOME_REFUSED);
    CHECK(outcome_of(CURLE_OK, true, 400, "INVALIDSESSIONID") == OUTCOME_DEAD_TOKEN);
    CHECK(outcome_of(CURLE_OK, true, 400, "UNABLE_TO_LOCK_ROW") == OUTCOME_NOT_APPLIED);
    CHECK(outcome_of(CURLE_OK, true, 429, NULL) == OUTCOME_NOT_APPLIED);
    CHECK(outcome_of(CURLE_OK, true, 420, NULL) == OUTCOME_NOT_APPLIED);
    CHECK(outcome_of(CURLE_OK, true, 301, NULL) == OUTCOME_REFUSED);
    static const long lost[] = {408, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++)
        CHECK(outcome_of(CURLE_OK, true, lost[i], NULL) == OUTCOME_LOST);
    CHECK(outcome_of(CURLE_COULDNT_CONNECT, false, 0, NULL) == OUTCOME_NOT_APPLIED);
    CHECK(outcome_of(CURLE_RECV_ERROR, true, 0, NULL) == OUTCOME_LOST);
    CHECK(outcome_of(CURLE_RECV_ERROR, true, 100, NULL) == OUTCOME_LOST);
    CHECK(outcome_of(CURLE_PARTIAL_FILE, true, 200, NULL) == OUTCOME_LOST);
    CHECK(outcome_of(CURLE_PARTIAL_FILE, true, 400, NULL) == OUTCOME_REFUSED);
    /* What is left over of a garbled answer, read as the next one. */
    CHECK(outcome_of(CURLE_UNSUPPORTED_PROTOCOL, true, 0, NULL) == OUTCOME_LOST);
    CHECK(outcome_of(CURLE_PEER_FAILED_VERIFICATION, false, 0, NULL) == OUTCOME_BROKEN);
}

static void test_codes(void)
{
    CHECK(same_code("InvalidJobState", "INVALIDJOBSTATE"));
    CHECK(same_code("INVALID_SESSION_ID", "INVALIDSESSIONID"));
    CHECK(!same_code("INVALIDJOB", "INVALIDJOBSTATE"));
    CHECK(job_state_from("InProgress") == STATE_IN_PROGRESS);
    CHECK(job_state_from("Closed") == STATE_UNKNOWN);
    CHECK(job_state_name(STATE_UNKNOWN) == NULL);
    CHECK(strcmp(job_state_name(STATE_ABORTED), "Aborted") == 0);
    CHECK(job_state_is_final(STATE_FAILED) && !job_state_is_final(STATE_IN_PROGRESS));
}

static void test_close(void)
{
    begin(VERB_CLOSE);
    CHECK(next_state(STATE_UPLOAD_COMPLETE) == PLAN_DONE);

    /* The answer was lost, and the close had taken effect: whatever the job has become since, it was closed. */
    static const enum job_state later[] = {STATE_UPLOAD_COMPLETE, STATE_IN_PROGRESS, STATE_JOB_COMPLETE};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        begin(VERB_CLOSE);
        CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_READ_BACK);
        CHECK(next_state(later[i]) == PLAN_DONE);
        CHECK(run.sends == 1);
    }

    /* It had not: sent again, up to the number of tries. */
    begin(VERB_CLOSE);
    for (int i = 0; i < 3; i++) {
        CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_READ_BACK);
        enum plan p = next_state(STATE_OPEN);
        CHECK(i < 2 ? p == PLAN_SEND && run.step == STEP_SEND : p == PLAN_FAIL);
    }
    CHECK(run.sends == 3);

    /* Another end. */
    static const enum job_state ends[] = {STATE_FAILED, STATE_ABORTED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        begin(VERB_CLOSE);
        next((struct answer)LOST);
        CHECK(next_state(ends[i]) == PLAN_FAIL_STATE);
    }
}

static void test_wrong_state(void)
{
    struct answer refused = REFUSED;
    refused.wrong_state = true;
    begin(VERB_CLOSE);
    CHECK(next(refused) == PLAN_SEND && run.step == STEP_READ_BACK && run.pause == 0);
    CHECK(next_state(STATE_UPLOAD_COMPLETE) == PLAN_DONE);
    begin(VERB_CLOSE);
    next(refused);
    CHECK(next_state(STATE_JOB_COMPLETE) == PLAN_FAIL_STATE);
    begin(VERB_ABORT);
    next(refused);
    CHECK(next_state(STATE_ABORTED) == PLAN_DONE);
    begin(VERB_ABORT);
    next(refused);
    CHECK(next_state(STATE_JOB_COMPLETE) == PLAN_FAIL_STATE);
    /* The first send took effect late: the second is refused for that. */
    begin(VERB_CLOSE);
    next((struct answer)LOST);
    CHECK(next_state(STATE_OPEN) == PLAN_SEND && run.step == STEP_SEND);
    CHECK(next(refused) == PLAN_SEND && run.step == STEP_READ_BACK);
    CHECK(next_state(STATE_JOB_COMPLETE) == PLAN_DONE);
    /* The service contradicts itself: no endless loop. */
    begin(VERB_CLOSE);
    next(refused);
    CHECK(next_state(STATE_OPEN) == PLAN_FAIL_STATE);
}

static void test_abort(void)
{
    static const enum job_state before[] = {STATE_OPEN, STATE_UPLOAD_COMPLETE, STATE_IN_PROGRESS};
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        begin(VERB_ABORT);
        CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_READ_BACK);
        CHECK(next_state(before[i]) == PLAN_SEND && run.step == STEP_SEND);
        CHECK(next_state(STATE_ABORTED) == PLAN_DONE);
    }
    /* The read-back itself fails for good: the abort is not known to have failed, and says so. */
    begin(VERB_ABORT);
    next((struct answer)LOST);
    CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_READ_BACK);
    CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_READ_BACK);
    CHECK(next((struct answer)LOST) == PLAN_FAIL);
    CHECK(run.sends == 1 && run.in_doubt);
    /* It was read back at last: no doubt, though no success. */
    begin(VERB_CLOSE);
    for (int i = 0; i < 3; i++) {
        next((struct answer)LOST);
        CHECK(run.in_doubt);
        next_state(STATE_OPEN);
        CHECK(!run.in_doubt);
    }
    begin(VERB_CREATE_FULL);
    next((struct answer)LOST);
    CHECK(run.in_doubt);
    begin(VERB_CREATE);
    next((struct answer)LOST);
    CHECK(!run.in_doubt);
}

static void test_upload(void)
{
    struct answer lost = LOST;
    struct answer contents = REFUSED;
    contents.has_contents = true;
    begin(VERB_UPLOAD);
    CHECK(next(lost) == PLAN_SEND && run.step == STEP_SEND);
    /* Nothing of ours had gone out whole, so the contents are not ours. */
    CHECK(next(contents) == PLAN_FAIL);
    begin(VERB_UPLOAD);
    lost.whole_sent = true;
    CHECK(next(lost) == PLAN_SEND);
    CHECK(next(contents) == PLAN_DONE);
    begin(VERB_UPLOAD);
    CHECK(next(contents) == PLAN_FAIL);
    /* A source that cannot be read again. */
    lost.can_repeat = false;
    begin(VERB_UPLOAD);
    CHECK(next(lost) == PLAN_FAIL);
    struct answer dead = DEAD_TOKEN;
    begin(VERB_UPLOAD);
    CHECK(next(dead) == PLAN_TOKEN);
    CHECK(next(dead) == PLAN_FAIL);
    dead.can_repeat = false;
    begin(VERB_UPLOAD);
    CHECK(next(dead) == PLAN_FAIL);
}

static void test_create(void)
{
    begin(VERB_CREATE);
    CHECK(next((struct answer)OK) == PLAN_TIDY && !run.failed);
    /* Surely not applied: sent again at once, nothing to look for. */
    begin(VERB_CREATE);
    CHECK(next((struct answer)NOT_APPLIED) == PLAN_SEND && run.step == STEP_SEND);
    /* Perhaps applied: looked for first. */
    begin(VERB_CREATE);
    CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_LIST);
    CHECK(next((struct answer)OK) == PLAN_SEND && run.step == STEP_SEND);
    CHECK(next((struct answer)OK) == PLAN_TIDY && !run.failed);
    /* The last try is looked for too, and then it is over. */
    begin(VERB_CREATE);
    for (int i = 0; i < 3; i++) {
        CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_LIST);
        enum plan p = next((struct answer)OK);
        CHECK(i < 2 ? p == PLAN_SEND && run.step == STEP_SEND : p == PLAN_TIDY && run.failed);
    }
    /* With its data in it, a job may be running: never a second one. */
    begin(VERB_CREATE_FULL);
    CHECK(next((struct answer)LOST) == PLAN_SEND && run.step == STEP_LIST);
    CHECK(next((struct answer)OK) == PLAN_TIDY && run.failed);
    CHECK(run.sends == 1);
    begin(VERB_CREATE);
    CHECK(next((struct answer)REFUSED) == PLAN_TIDY && run.failed);
}

static void test_delete_and_read(void)
{
    struct answer gone = REFUSED;
    gone.not_found = true;
    begin(VERB_DELETE);
    CHECK(next(gone) == PLAN_FAIL);
    begin(VERB_DELETE);
    CHECK(next((struct answer)LOST) == PLAN_SEND);
    CHECK(next(gone) == PLAN_DONE);
    begin(VERB_READ);
    CHECK(next((struct answer)LOST) == PLAN_SEND);
    CHECK(next((struct answer)NOT_APPLIED) == PLAN_SEND);
    CHECK(next((struct answer)LOST) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(next((struct answer)DEAD_TOKEN) == PLAN_TOKEN && run.pause == 0);
    CHECK(next((struct answer)DEAD_TOKEN) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(next((struct answer){.outcome = OUTCOME_BROKEN}) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(next((struct answer){.outcome = OUTCOME_LOST, .retry_after = 5}) == PLAN_SEND && run.pause == 5);
}

/* Whatever the service answers, and in whatever order, every verb comes to an end within a number of requests. */
static void test_every_verb_ends(void)
{
    unsigned seed = 12345;
    int longest = 0;
    for (int round = 0; round < 200000; round++) {
        begin((enum verb)(round % 8));
        int requests = 0;
        enum plan p = PLAN_SEND;
        while ((p == PLAN_SEND || p == PLAN_TOKEN) && requests < 100) {
            seed = seed * 1664525u + 1013904223u;
            struct answer a = {
                .outcome = (enum outcome)((seed >> 8) % 6),
                .state = (enum job_state)((seed >> 12) % 7),
                .not_found = (seed >> 16) & 1,
                .wrong_state = (seed >> 17) & 1,
                .has_contents = (seed >> 18) & 1,
                .whole_sent = (seed >> 19) & 1,
                .can_repeat = (seed >> 20) & 1,
                .retry_after = -1,
            };
            p = next(a);
            requests++;
        }
        if (requests > longest)
            longest = requests;
    }
    CHECK(longest < 20);
}

int main(void)
{
    test_outcomes();
    test_codes();
    test_close();
    test_wrong_state();
    test_abort();
    test_upload();
    test_create();
    test_delete_and_read();
    test_every_verb_ends();
    return check_result();
}
