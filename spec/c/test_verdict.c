/* Goes through all responses that differ in what verdict() looks at, and checks what has to hold for each. */
#include "../../src/verdict.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

#define ID "7508d00000Kq3XbAAJ"

static const long statuses[] = {0,   100, 101, 103, 200, 201, 202, 204, 206, 299, 300, 301, 302, 307,
                                400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 420, 422, 429, 431,
                                451, 499, 500, 501, 502, 503, 504, 505, 507, 511, 520, 524, 529, 599};
static const CURLcode codes[] = {
    CURLE_OK,
    CURLE_COULDNT_CONNECT,
    CURLE_PEER_FAILED_VERIFICATION,
    CURLE_OPERATION_TIMEDOUT,
    CURLE_GOT_NOTHING,
    CURLE_RECV_ERROR,
    CURLE_PARTIAL_FILE,
    CURLE_UNSUPPORTED_PROTOCOL,
    CURLE_OUT_OF_MEMORY,
    CURLE_WEIRD_SERVER_REPLY,
    CURLE_WRITE_ERROR,
    CURLE_HTTP2_STREAM,
};
static const enum stop_reason stops[] = {STOP_NONE,     STOP_CANCELLED, STOP_SILENCE, STOP_SOURCE,
                                         STOP_SINK,     STOP_RESEND,    STOP_CORRUPT, STOP_NO_MEMORY,
                                         STOP_DEADLINE, STOP_HEADERS,   STOP_PACKING};
static const char *const error_codes[] = {
    NULL,        "INVALIDJOBSTATE",     "InvalidJobState", "INVALID_SESSION_ID", "UNABLE_TO_LOCK_ROW",
    "NOT_FOUND", "INVALID_AUTH_HEADER", "INVALIDJOB"};
static const char *const messages[] = {NULL, "Found multiple contents for job", "Found multipe contents for job: <750>",
                                       "The session is not valid for use with the REST API"};
static const char *const states[] = {NULL,          "Open",   "UploadComplete", "InProgress",
                                     "JobComplete", "Failed", "Aborted",        "Queued"};
static const enum verb verbs[] = {VERB_READ,   VERB_CREATE, VERB_CREATE_FULL, VERB_QUERY,
                                  VERB_UPLOAD, VERB_CLOSE,  VERB_ABORT,       VERB_DELETE};

static struct transfer *transfer;

/* One response: the transfer above, and these. */
static enum verb verb;
static enum step step;
static enum expect expect;
static struct reply reply;
static struct answer answer;
static enum fault fault;

static unsigned long cases;

/* What has to hold for every response. Counted by name, so that a failure is one line. */
enum {
    FAULTLESS_IS_OK,
    LOST_IS_SENT_UNANSWERED,
    ANSWERED_IS_2XX_OR_REFUSAL,
    REFUSAL_IS_ANSWERED,
    OK_IS_WHOLE,
    OK_MAKES_SENSE,
    OK_SHOWS_STATE,
    FLAGS_ARE_ANSWERED,
    FLAGS_ARE_OF_ERRORS,
    FLAGS_ARE_FOUND,
    PASSING_IS_RETRIED,
    NOT_SENT_IS_NOT_LOST,
    RETRY_AFTER_IS_KEPT,
    TOKEN_IS_REFUSED,
    TIME_IS_OVER,
    DRIVER_IS_LEFT_ALONE,
    RULES
};

static const char *const rules[RULES] = {
    [FAULTLESS_IS_OK] = "a response without a fault is OK, and no other",
    [LOST_IS_SENT_UNANSWERED] = "a request is lost when it was sent and not answered",
    [ANSWERED_IS_2XX_OR_REFUSAL] = "only a 2xx that makes sense and the service's own 4xx are answers",
    [REFUSAL_IS_ANSWERED] = "the service's own 4xx is an answer",
    [OK_IS_WHOLE] = "no response is OK when the transfer failed or was ended",
    [OK_MAKES_SENSE] = "OK is a 2xx, no part, and holds what was expected",
    [OK_SHOWS_STATE] = "OK of a close and an abort shows the state",
    [FLAGS_ARE_ANSWERED] = "not_found, wrong_state and has_contents are the service's own words",
    [FLAGS_ARE_OF_ERRORS] = "they come with a refusal that no try mends, or a dead token",
    [FLAGS_ARE_FOUND] = "they are found where they stand",
    [PASSING_IS_RETRIED] = "a busy server is tried again",
    [NOT_SENT_IS_NOT_LOST] = "what never went out is not lost",
    [RETRY_AFTER_IS_KEPT] = "the wish of the service is passed on",
    [TOKEN_IS_REFUSED] = "a dead token is one that was refused",
    [TIME_IS_OVER] = "the time is over when the engine says so, and then nothing is OK",
    [DRIVER_IS_LEFT_ALONE] = "what verdict() cannot know is not set",
};
static unsigned long broken[RULES];

static void rule(int which, bool holds)
{
    if (holds)
        return;
    if (broken[which]++ == 0)
        printf("# %s: status %ld, code %d, stop %d, sent %d, verb %d, step %d, expect %d, form %d, %s, %s, state %s: "
               "outcome %d, lost %d, fault %d\n",
               rules[which], transfer->status, (int)transfer->code, (int)transfer->stop, transfer->request_sent,
               (int)verb, (int)step, (int)expect, (int)reply.form, reply.code ? reply.code : "no code",
               reply.message ? reply.message : "no message", reply.state ? reply.state : "none", (int)answer.outcome,
               answer.lost, (int)fault);
}

static bool is_one_of(long status, const long *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == status)
            return true;
    return false;
}

/* By the rules, written down once more: a refusal of the service itself. */
static bool is_own_refusal(void)
{
    static const long passing[] = {408, 420, 429};
    return transfer->status >= 400 && transfer->status <= 499 &&
           !is_one_of(transfer->status, passing, COUNT(passing)) && reply.form == FORM_ERROR;
}

static bool is_expected_form(void)
{
    switch (expect) {
    case EXPECT_NOTHING:
        return reply.form == FORM_EMPTY;
    case EXPECT_JOB:
    case EXPECT_OBJECT:
        return reply.form == FORM_OBJECT;
    case EXPECT_CSV:
    case EXPECT_FILE:
        return reply.form != FORM_ERROR;
    }
    return false;
}

static bool shows_state(void)
{
    if (expect != EXPECT_JOB)
        return true;
    if (!reply.id || !reply.state)
        return false;
    if (step != STEP_SEND || (verb != VERB_CLOSE && verb != VERB_ABORT))
        return answer.state == job_state_from(reply.state);
    if (verb == VERB_ABORT)
        return answer.state == STATE_ABORTED;
    return answer.state == STATE_UPLOAD_COMPLETE || answer.state == STATE_IN_PROGRESS ||
           answer.state == STATE_JOB_COMPLETE || answer.state == STATE_FAILED;
}

static bool says(const char *text)
{
    return reply.message && strstr(reply.message, text);
}

static void check(void)
{
    static const long busy[] = {408, 420, 429, 500, 502, 503, 504, 507, 511, 520, 524, 529, 599};
    bool ok = answer.outcome == OUTCOME_OK;
    bool answered = answer.sent && !answer.lost;
    bool whole = transfer->code == CURLE_OK && transfer->stop == STOP_NONE;
    bool stopped = transfer->stop != STOP_NONE;
    bool flags = answer.not_found || answer.wrong_state || answer.has_contents;
    cases++;
    rule(FAULTLESS_IS_OK, ok == (fault == FAULT_NONE));
    rule(LOST_IS_SENT_UNANSWERED, answer.sent == transfer->request_sent &&
                                      answer.lost == (answer.sent && !ok && !(is_own_refusal() && !stopped)));
    rule(ANSWERED_IS_2XX_OR_REFUSAL, !answered || ok || (is_own_refusal() && !stopped));
    rule(REFUSAL_IS_ANSWERED, !is_own_refusal() || stopped || !answer.lost);
    rule(OK_IS_WHOLE, !ok || whole);
    rule(OK_MAKES_SENSE, !ok || (transfer->status / 100 == 2 && transfer->status != 206 && is_expected_form()));
    rule(OK_SHOWS_STATE, !ok || shows_state());
    rule(FLAGS_ARE_ANSWERED, !flags || (!answer.lost && is_own_refusal() && !stopped));
    rule(FLAGS_ARE_OF_ERRORS,
         !flags || answer.outcome == OUTCOME_FAILED || answer.outcome == OUTCOME_DEAD_TOKEN ||
             (answer.outcome == OUTCOME_RETRY && reply.code && same_code(reply.code, "UNABLE_TO_LOCK_ROW")));
    rule(FLAGS_ARE_FOUND, !is_own_refusal() || stopped ||
                              (answer.not_found == (transfer->status == 404) &&
                               answer.wrong_state == (reply.code && same_code(reply.code, "INVALIDJOBSTATE")) &&
                               answer.has_contents == (says("multiple contents") || says("multipe contents"))));
    rule(PASSING_IS_RETRIED,
         !is_one_of(transfer->status, busy, COUNT(busy)) || stopped || answer.outcome == OUTCOME_RETRY);
    rule(NOT_SENT_IS_NOT_LOST, answer.sent || !answer.lost);
    rule(RETRY_AFTER_IS_KEPT, answer.retry_after == reply.retry_after);
    rule(TOKEN_IS_REFUSED, answer.outcome != OUTCOME_DEAD_TOKEN || is_auth_refusal(transfer->status, reply.code));
    rule(TIME_IS_OVER, answer.over == (transfer->stop == STOP_DEADLINE) && (!answer.over || !ok));
    rule(DRIVER_IS_LEFT_ALONE, !answer.contents_ours && !answer.can_repeat);
}

static void judge(void)
{
    memset(&answer, 0xAA, sizeof answer);
    fault = verdict(transfer, verb, step, expect, &reply, &answer);
    check();
}

/* For one transfer, verb and step: every reply that there can be. */
static void judge_replies(void)
{
    memset(&reply, 0, sizeof reply);
    reply.expected_id = ID;
    reply.retry_after = -1;
    reply.form = FORM_EMPTY;
    judge();
    reply.form = FORM_OTHER;
    reply.retry_after = 7;
    judge();
    reply.form = FORM_ERROR;
    for (size_t c = 0; c < COUNT(error_codes); c++)
        for (size_t m = 0; m < COUNT(messages); m++) {
            reply.code = error_codes[c];
            reply.message = messages[m];
            judge();
        }
    static const char *const ids[] = {NULL, ID, "7508d00000Kq3Xb", "7508d00000Kq3XcAAJ", "no id"};
    reply.code = reply.message = NULL;
    reply.form = FORM_OBJECT;
    for (size_t i = 0; i < COUNT(ids); i++)
        for (size_t s = 0; s < COUNT(states); s++) {
            reply.id = ids[i];
            reply.state = states[s];
            judge();
        }
}

static void judge_verbs(void)
{
    for (size_t v = 0; v < COUNT(verbs); v++)
        for (int s = STEP_SEND; s <= STEP_READ_BACK; s++) {
            verb = verbs[v];
            step = (enum step)s;
            if (step == STEP_READ_BACK && verb != VERB_CLOSE && verb != VERB_ABORT)
                continue;
            expect = verb == VERB_UPLOAD || verb == VERB_DELETE ? EXPECT_NOTHING : EXPECT_JOB;
            judge_replies();
            for (int e = EXPECT_NOTHING; verb == VERB_READ && e <= EXPECT_FILE; e++) {
                expect = (enum expect)e;
                judge_replies();
            }
        }
}

static void test_all(void)
{
    for (size_t s = 0; s < COUNT(statuses); s++)
        for (size_t c = 0; c < COUNT(codes); c++)
            for (size_t p = 0; p < COUNT(stops); p++)
                for (int sent = 0; sent <= 1; sent++) {
                    transfer->status = statuses[s];
                    transfer->code = codes[c];
                    transfer->stop = stops[p];
                    transfer->request_sent = sent;
                    if (statuses[s] && !sent) /* a response to nothing */
                        continue;
                    judge_verbs();
                }
    printf("# %lu responses\n", cases);
    for (int i = 0; i < RULES; i++)
        check_one(broken[i] == 0, rules[i], __FILE__, __LINE__);
}

/* ---- by hand: what the loops above do not tell apart ---- */

static struct answer given(long status, enum verb v, enum step s, enum expect e)
{
    transfer->status = status;
    transfer->code = CURLE_OK;
    transfer->stop = STOP_NONE;
    transfer->request_sent = true;
    fault = verdict(transfer, v, s, e, &reply, &answer);
    return answer;
}

static void set_reply(enum form form, const char *code)
{
    memset(&reply, 0, sizeof reply);
    reply.form = form;
    reply.code = code;
    reply.expected_id = ID;
    reply.retry_after = -1;
}

static void test_refusals(void)
{
    static const struct {
        long status;
        const char *code;
        enum outcome outcome;
        bool lost;
    } cases_of[] = {
        {400, "INVALIDUSER", OUTCOME_FAILED, false},
        {401, "INVALID_SESSION_ID", OUTCOME_DEAD_TOKEN, false},
        {400, "INVALIDSESSIONID", OUTCOME_DEAD_TOKEN, false},
        {401, "INVALID_AUTH_HEADER", OUTCOME_FAILED, false},
        {400, "UNABLE_TO_LOCK_ROW", OUTCOME_RETRY, false},
        {400, "TooManyLockFailure", OUTCOME_RETRY, false},
        {408, "X", OUTCOME_RETRY, true},
        {420, "X", OUTCOME_RETRY, true},
        {429, "X", OUTCOME_RETRY, true},
        {500, "X", OUTCOME_RETRY, true},
        {501, "X", OUTCOME_FAILED, true},
        {505, "X", OUTCOME_FAILED, true},
        {507, "X", OUTCOME_RETRY, true},
        {599, "X", OUTCOME_RETRY, true},
        {301, "X", OUTCOME_FAILED, true},
        {200, "X", OUTCOME_FAILED, true},
        {201, "UNABLE_TO_LOCK_ROW", OUTCOME_RETRY, true},
    };
    for (size_t i = 0; i < COUNT(cases_of); i++) {
        set_reply(FORM_ERROR, cases_of[i].code);
        struct answer a = given(cases_of[i].status, VERB_CLOSE, STEP_SEND, EXPECT_JOB);
        CHECK(a.outcome == cases_of[i].outcome && a.lost == cases_of[i].lost && fault == FAULT_REFUSED);
    }
    /* The same without the service's JSON: somebody else's words. */
    for (long status = 400; status < 500; status++) {
        set_reply(FORM_OTHER, NULL);
        CHECK(given(status, VERB_CLOSE, STEP_SEND, EXPECT_JOB).lost);
        set_reply(FORM_OBJECT, NULL);
        CHECK(given(status, VERB_CLOSE, STEP_SEND, EXPECT_JOB).lost);
        set_reply(FORM_EMPTY, NULL);
        struct answer a = given(status, VERB_DELETE, STEP_SEND, EXPECT_NOTHING);
        CHECK(a.lost && !a.not_found);
    }
}

static void test_failures(void)
{
    set_reply(FORM_EMPTY, NULL);
    given(0, VERB_READ, STEP_SEND, EXPECT_JOB);
    transfer->code = CURLE_COULDNT_CONNECT;
    transfer->request_sent = false;
    CHECK(verdict(transfer, VERB_CLOSE, STEP_SEND, EXPECT_JOB, &reply, &answer) == FAULT_TRANSFER);
    CHECK(answer.outcome == OUTCOME_RETRY && !answer.lost);
    transfer->code = CURLE_PEER_FAILED_VERIFICATION;
    verdict(transfer, VERB_CLOSE, STEP_SEND, EXPECT_JOB, &reply, &answer);
    CHECK(answer.outcome == OUTCOME_FAILED && !answer.lost);
    /* What is left over of a garbled answer, read as the next one. */
    transfer->code = CURLE_UNSUPPORTED_PROTOCOL;
    transfer->request_sent = true;
    verdict(transfer, VERB_CLOSE, STEP_SEND, EXPECT_JOB, &reply, &answer);
    CHECK(answer.outcome == OUTCOME_RETRY && answer.lost);
    transfer->proxy_refused = true;
    verdict(transfer, VERB_CLOSE, STEP_SEND, EXPECT_JOB, &reply, &answer);
    CHECK(answer.outcome == OUTCOME_FAILED);
    transfer->proxy_refused = false;
}

static void test_early(void)
{
    struct source *s = &transfer->source;
    set_reply(FORM_EMPTY, NULL);
    source_init_bytes(s, "hello", 5);
    CHECK(given(201, VERB_UPLOAD, STEP_SEND, EXPECT_NOTHING).outcome == OUTCOME_RETRY);
    CHECK(fault == FAULT_EARLY && answer.lost);
    s->sent = 5;
    s->whole_sent = true;
    transfer->bytes_out = 4; /* libcurl has read all, and kept some */
    CHECK(given(201, VERB_UPLOAD, STEP_SEND, EXPECT_NOTHING).lost && fault == FAULT_EARLY);
    transfer->bytes_out = 5;
    CHECK(given(201, VERB_UPLOAD, STEP_SEND, EXPECT_NOTHING).outcome == OUTCOME_OK && fault == FAULT_NONE);
    source_init_bytes(s, "", 0);
    CHECK(given(201, VERB_UPLOAD, STEP_SEND, EXPECT_NOTHING).outcome == OUTCOME_OK);
    source_init(s);
    transfer->bytes_out = 0;
}

static void test_downloads(void)
{
    set_reply(FORM_EMPTY, NULL);
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_CSV).outcome == OUTCOME_OK);
    reply.no_locator = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_CSV).outcome == OUTCOME_RETRY && fault == FAULT_NO_LOCATOR);
    reply.no_locator = false;
    reply.other_columns = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_FILE).outcome == OUTCOME_RETRY && fault == FAULT_COLUMNS);
    reply.other_columns = false;
    reply.bad_quote = reply.rows_cut = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_FILE).outcome == OUTCOME_FAILED && fault == FAULT_QUOTE);
    reply.bad_quote = false;
    reply.rows_cut = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_CSV).outcome == OUTCOME_RETRY && fault == FAULT_ROWS_CUT);
    reply.rows_cut = false;
    reply.rows_differ = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_FILE).outcome == OUTCOME_RETRY && fault == FAULT_ROWS_DIFFER);
    reply.rows_differ = false;
    reply.download_corrupt = true;
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_CSV).outcome == OUTCOME_RETRY && fault == FAULT_CORRUPT);
    reply.download_differs = true; /* the program has read some of it: there is no way back */
    CHECK(given(200, VERB_READ, STEP_SEND, EXPECT_CSV).outcome == OUTCOME_FAILED && fault == FAULT_DIFFERS);
}

static void test_words(void)
{
    CHECK(same_code("InvalidJobState", "INVALIDJOBSTATE"));
    CHECK(same_code("INVALID_SESSION_ID", "INVALIDSESSIONID"));
    CHECK(same_code("_a_", "A") && same_code("", "__"));
    CHECK(!same_code("INVALIDJOB", "INVALIDJOBSTATE") && !same_code("INVALIDJOBSTATE", "INVALIDJOB"));
    CHECK(is_job_id("7508d00000Kq3Xb", 15) && is_job_id(ID, 18));
    CHECK(!is_job_id(ID, 17) && !is_job_id("7508d00000Kq3X/", 15) && !is_job_id("", 0));
    CHECK(is_auth_refusal(401, NULL) && is_auth_refusal(403, "INVALID_SESSION_ID") && !is_auth_refusal(403, NULL));
}

int main(void)
{
    transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return 2;
    test_refusals();
    test_failures();
    test_early();
    test_downloads();
    test_words();
    test_all();
    free(transfer);
    return check_result();
}
