#include "../../src/job.h"

#include "check.h"

#include <string.h>

static const struct retry_policy policy = {.tries = 3, .base = 1, .cap = 4};

static struct verb_run run;

static enum plan next(struct answer a)
{
    return verb_next(&run, &a, 0.5);
}

static void begin(enum verb verb)
{
    verb_begin(&run, verb, &policy, true);
}

/* It went out, and no answer of the service came. */
static struct answer lost(void)
{
    return (struct answer){.outcome = OUTCOME_RETRY, .sent = true, .lost = true, .can_repeat = true, .retry_after = -1};
}

/* It never went out. */
static struct answer unsent(void)
{
    return (struct answer){.outcome = OUTCOME_RETRY, .can_repeat = true, .retry_after = -1};
}

/* The service answered. */
static struct answer answered(enum outcome outcome)
{
    return (struct answer){.outcome = outcome, .sent = true, .can_repeat = true, .retry_after = -1};
}

static struct answer refused_for_state(void)
{
    struct answer a = answered(OUTCOME_FAILED);
    a.wrong_state = true;
    return a;
}

static struct answer not_found(void)
{
    struct answer a = answered(OUTCOME_FAILED);
    a.not_found = true;
    return a;
}

static enum plan next_state(enum job_state state)
{
    struct answer a = answered(OUTCOME_OK);
    a.state = state;
    return next(a);
}

/* Does it look at the state next, or send the verb itself? */
static bool reads_back(enum plan p)
{
    return p == PLAN_SEND && run.step == STEP_READ_BACK;
}

static bool sends_again(enum plan p)
{
    return p == PLAN_SEND && run.step == STEP_SEND;
}

static void test_states(void)
{
    for (int s = STATE_OPEN; s <= STATE_ABORTED; s++)
        CHECK(job_state_from(job_state_name((enum job_state)s)) == (enum job_state)s);
    CHECK(job_state_from("Closed") == STATE_UNKNOWN);
    CHECK(job_state_from("") == STATE_UNKNOWN);
    CHECK(job_state_name(STATE_UNKNOWN) == NULL);
    CHECK(job_state_name((enum job_state)(STATE_ABORTED + 1)) == NULL);
    CHECK(strcmp(job_state_name(STATE_ABORTED), "Aborted") == 0);
    CHECK(verb_commits(VERB_CLOSE) && verb_commits(VERB_ABORT) && verb_commits(VERB_CREATE_FULL));
    CHECK(!verb_commits(VERB_CREATE) && !verb_commits(VERB_UPLOAD) && !verb_commits(VERB_DELETE));
    CHECK(!verb_commits(VERB_READ) && !verb_commits(VERB_QUERY));
}

static void test_close(void)
{
    begin(VERB_CLOSE);
    CHECK(next_state(STATE_UPLOAD_COMPLETE) == PLAN_DONE && !run.in_doubt);

    /* The answer was lost, and the job is past Open: only a close leads there. */
    static const enum job_state later[] = {STATE_UPLOAD_COMPLETE, STATE_IN_PROGRESS, STATE_JOB_COMPLETE, STATE_FAILED};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        begin(VERB_CLOSE);
        CHECK(reads_back(next(lost())) && run.in_doubt);
        CHECK(next_state(later[i]) == PLAN_DONE && !run.in_doubt);
        CHECK(run.sends == 1 && run.lost_sends == 1);
    }

    /* It is still Open: sent again, up to the number of tries, and in doubt to the end, since each may yet arrive. */
    begin(VERB_CLOSE);
    for (int i = 0; i < 3; i++) {
        CHECK(reads_back(next(lost())));
        enum plan p = next_state(STATE_OPEN);
        CHECK(i < 2 ? sends_again(p) : p == PLAN_FAIL);
        CHECK(run.in_doubt);
    }
    CHECK(run.sends == 3 && run.lost_sends == 3);

    /* An answer to a later request ends no earlier doubt, unless it leaves the earlier one nothing to do. */
    begin(VERB_CLOSE);
    next(lost());
    next_state(STATE_OPEN);
    CHECK(reads_back(next(answered(OUTCOME_FAILED))));
    CHECK(next_state(STATE_OPEN) == PLAN_FAIL && run.in_doubt);
    begin(VERB_CLOSE);
    next(lost());
    next_state(STATE_OPEN);
    CHECK(next_state(STATE_UPLOAD_COMPLETE) == PLAN_DONE && !run.in_doubt);

    /* Somebody aborted it: no close can do anything now. 404, or a state that nobody knows, says nothing. */
    begin(VERB_CLOSE);
    next(lost());
    CHECK(next_state(STATE_ABORTED) == PLAN_FAIL_STATE && !run.in_doubt && !run.gone);
    begin(VERB_CLOSE);
    next(lost());
    CHECK(next(not_found()) == PLAN_FAIL_STATE && run.in_doubt && run.gone);
    begin(VERB_CLOSE);
    next(lost());
    CHECK(next_state(STATE_UNKNOWN) == PLAN_FAIL_STATE && run.in_doubt);

    /* Refused at once, or never sent: no doubt. */
    begin(VERB_CLOSE);
    CHECK(next(answered(OUTCOME_FAILED)) == PLAN_FAIL && !run.in_doubt);
    begin(VERB_CLOSE);
    CHECK(sends_again(next(unsent())) && sends_again(next(unsent())));
    CHECK(next(unsent()) == PLAN_FAIL && !run.in_doubt && run.lost_sends == 0);

    /* A lock failure is a refusal that another try may mend. */
    begin(VERB_CLOSE);
    CHECK(sends_again(next(answered(OUTCOME_RETRY))) && !run.in_doubt);
}

static void test_wrong_state(void)
{
    /* Closed already, by whom ever. */
    static const enum job_state later[] = {STATE_UPLOAD_COMPLETE, STATE_IN_PROGRESS, STATE_JOB_COMPLETE, STATE_FAILED};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        begin(VERB_CLOSE);
        CHECK(reads_back(next(refused_for_state())) && run.pause == 0);
        CHECK(next_state(later[i]) == PLAN_DONE);
    }
    begin(VERB_CLOSE);
    next(refused_for_state());
    CHECK(next_state(STATE_ABORTED) == PLAN_FAIL_STATE && !run.in_doubt);
    begin(VERB_ABORT);
    next(refused_for_state());
    CHECK(next_state(STATE_ABORTED) == PLAN_DONE);
    static const enum job_state ends[] = {STATE_JOB_COMPLETE, STATE_FAILED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        begin(VERB_ABORT);
        next(refused_for_state());
        CHECK(next_state(ends[i]) == PLAN_FAIL_STATE && !run.in_doubt);
    }
    /* The first send took effect late: the second is refused for that. */
    begin(VERB_CLOSE);
    next(lost());
    CHECK(sends_again(next_state(STATE_OPEN)));
    CHECK(reads_back(next(refused_for_state())));
    CHECK(next_state(STATE_JOB_COMPLETE) == PLAN_DONE && !run.in_doubt);
    /* The service contradicts itself: tried again with a pause, but not for ever. */
    begin(VERB_CLOSE);
    for (int i = 0; i < 3; i++) {
        CHECK(reads_back(next(refused_for_state())));
        enum plan p = next_state(STATE_OPEN);
        CHECK(i < 2 ? sends_again(p) && run.pause > 0 : p == PLAN_FAIL_STATE);
    }
    CHECK(!run.in_doubt);
}

static void test_abort(void)
{
    static const enum job_state before[] = {STATE_OPEN, STATE_UPLOAD_COMPLETE, STATE_IN_PROGRESS};
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        begin(VERB_ABORT);
        CHECK(reads_back(next(lost())));
        CHECK(sends_again(next_state(before[i])) && run.in_doubt);
        CHECK(next_state(STATE_ABORTED) == PLAN_DONE && !run.in_doubt);
    }
    /* The read-back itself fails for good. */
    begin(VERB_ABORT);
    CHECK(reads_back(next(lost())));
    CHECK(reads_back(next(lost())) && reads_back(next(lost())));
    CHECK(next(lost()) == PLAN_FAIL);
    CHECK(run.sends == 1 && run.lost_sends == 1 && run.in_doubt);
}

static void test_upload(void)
{
    struct answer contents = answered(OUTCOME_FAILED);
    contents.has_contents = true;
    /* Whose contents they are is for the caller to say. */
    begin(VERB_UPLOAD);
    CHECK(sends_again(next(lost())) && !run.in_doubt);
    CHECK(next(contents) == PLAN_FAIL);
    contents.contents_ours = true;
    begin(VERB_UPLOAD);
    CHECK(sends_again(next(lost())));
    CHECK(next(contents) == PLAN_DONE_EARLIER);
    /* A source that cannot be read again. */
    struct answer once = lost();
    once.can_repeat = false;
    begin(VERB_UPLOAD);
    CHECK(next(once) == PLAN_FAIL);
    begin(VERB_UPLOAD);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_TOKEN);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_FAIL);
    once = answered(OUTCOME_DEAD_TOKEN);
    once.can_repeat = false;
    begin(VERB_UPLOAD);
    CHECK(next(once) == PLAN_FAIL);
}

static void test_create(void)
{
    /* An empty job that nobody knows of can process nothing: sent again, and counted. */
    begin(VERB_CREATE);
    CHECK(sends_again(next(lost())) && !run.in_doubt);
    CHECK(next_state(STATE_OPEN) == PLAN_DONE && run.lost_sends == 1);
    begin(VERB_CREATE);
    CHECK(sends_again(next(unsent())) && sends_again(next(lost())));
    CHECK(next(lost()) == PLAN_FAIL && run.lost_sends == 2);
    begin(VERB_CREATE);
    CHECK(next(answered(OUTCOME_FAILED)) == PLAN_FAIL && run.lost_sends == 0);

    /* With its data in it, a job may be running: never a second one. */
    begin(VERB_CREATE_FULL);
    CHECK(next(lost()) == PLAN_FAIL && run.in_doubt && run.sends == 1);
    begin(VERB_CREATE_FULL);
    CHECK(sends_again(next(unsent())) && sends_again(next(answered(OUTCOME_RETRY))));
    CHECK(next(lost()) == PLAN_FAIL && run.in_doubt);
    begin(VERB_CREATE_FULL);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_TOKEN);
    CHECK(next_state(STATE_UPLOAD_COMPLETE) == PLAN_DONE && !run.in_doubt);
    /* A 401 without the service's error may be anybody's. */
    struct answer dead = lost();
    dead.outcome = OUTCOME_DEAD_TOKEN;
    begin(VERB_CREATE_FULL);
    CHECK(next(dead) == PLAN_FAIL && run.in_doubt);
}

static void test_delete_and_read(void)
{
    begin(VERB_DELETE);
    CHECK(next(not_found()) == PLAN_FAIL);
    begin(VERB_DELETE);
    CHECK(sends_again(next(lost())));
    CHECK(next(not_found()) == PLAN_DONE_EARLIER);
    begin(VERB_DELETE);
    CHECK(sends_again(next(unsent())));
    CHECK(next(not_found()) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(sends_again(next(lost())) && sends_again(next(unsent())));
    CHECK(next(lost()) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_TOKEN && run.pause == 0);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_FAIL);
    begin(VERB_READ);
    CHECK(next(answered(OUTCOME_FAILED)) == PLAN_FAIL);
    struct answer later = lost();
    later.retry_after = 5;
    begin(VERB_READ);
    CHECK(next(later) == PLAN_SEND && run.pause == 5);
    /* No new token can be had. */
    verb_begin(&run, VERB_READ, &policy, false);
    CHECK(next(answered(OUTCOME_DEAD_TOKEN)) == PLAN_FAIL);
}

/* No more than an hour is spent on pauses between failures in a row. */
static void test_time(void)
{
    struct retry_policy many = {.tries = 100, .base = 1, .cap = 2};
    struct answer a = lost();
    struct answer open = answered(OUTCOME_OK);
    open.state = STATE_OPEN;
    a.retry_after = 600;
    verb_begin(&run, VERB_READ, &many, true);
    for (int i = 0; i < 6; i++)
        CHECK(next(a) == PLAN_SEND);
    CHECK(next(a) == PLAN_FAIL);
    verb_begin(&run, VERB_CLOSE, &many, true);
    for (int i = 0; i < 10; i++)
        CHECK(next(a) == PLAN_SEND && run.pause == 600 && next(open) == PLAN_SEND);
    /* A wish for more time than anybody waits: the state is read, and nothing else is sent. */
    a.retry_after = 3600;
    begin(VERB_CLOSE);
    CHECK(reads_back(next(a)) && run.pause == 0);
    CHECK(next_state(STATE_OPEN) == PLAN_FAIL && run.in_doubt);
}

/* Given up by the caller. */
static void test_given_up(void)
{
    static const enum verb verbs[] = {VERB_READ,   VERB_CREATE, VERB_CREATE_FULL, VERB_QUERY,
                                      VERB_UPLOAD, VERB_CLOSE,  VERB_ABORT,       VERB_DELETE};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        begin(verbs[i]);
        CHECK(!verb_would_doubt(&run, false));
        CHECK(verb_would_doubt(&run, true) == verb_commits(verbs[i]));
    }
    begin(VERB_CLOSE);
    next(refused_for_state());
    CHECK(run.step == STEP_READ_BACK && !verb_would_doubt(&run, true)); /* a read is out, and nothing else */
    begin(VERB_CLOSE);
    next(lost());
    CHECK(verb_would_doubt(&run, false) && verb_would_doubt(&run, true));
}

static void test_bodies(void)
{
    static const char one[DIGEST_BODY_HEX + 1] = "1111";
    static const char two[DIGEST_BODY_HEX + 1] = "2222";
    struct bodies b = {0};
    CHECK(!bodies_are(&b, one) && !bodies_are(&b, "")); /* none has gone out */
    bodies_add(&b, one);
    bodies_add(&b, one);
    CHECK(b.whole == 2 && bodies_are(&b, one) && !bodies_are(&b, two));
    bodies_add(&b, two);
    bodies_add(&b, one);
    CHECK(b.whole == 4 && !bodies_are(&b, one) && !bodies_are(&b, two));
}

int main(void)
{
    test_states();
    test_close();
    test_wrong_state();
    test_abort();
    test_upload();
    test_create();
    test_delete_and_read();
    test_time();
    test_given_up();
    test_bodies();
    return check_result();
}
