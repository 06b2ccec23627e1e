#include "verdict.h"

#include "failure.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

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

static bool is_code(const char *code, const char *name)
{
    return code && same_code(code, name);
}

bool is_auth_refusal(long status, const char *code)
{
    return status == 401 || is_code(code, "INVALIDSESSIONID");
}

bool is_job_id(const char *id, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)id[i]))
            return false;
    return len == 15 || len == 18;
}

/* Does `what` stand in so many bytes, in any letter case? */
static bool contains(const char *text, size_t len, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= len; i++)
        if (strncasecmp(text + i, what, n) == 0)
            return true;
    return false;
}

bool response_is_csv(const struct transfer *t)
{
    size_t len;
    const char *type = transfer_header(t, "Content-Type", &len);
    return !type || !(contains(type, len, "html") || contains(type, len, "json") || contains(type, len, "xml"));
}

double response_date(const struct transfer *t)
{
    char text[64];
    size_t len;
    const char *date = transfer_header(t, "Date", &len);
    if (!date || len >= sizeof text)
        return -1;
    memcpy(text, date, len);
    text[len] = '\0';
    return (double)curl_getdate(text, NULL);
}

static bool mentions(const char *message, const char *what)
{
    return message && contains(message, strlen(message), what);
}

/* ---- no response ---- */

/* Failures before the request that another try does not mend: our own settings, or our own memory. */
static bool is_local(CURLcode code)
{
    switch (code) {
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

static enum outcome judge_failure(const struct transfer *t)
{
    switch (t->stop) {
    case STOP_SILENCE:
    case STOP_RESEND:
    case STOP_CORRUPT:
    case STOP_PACKING:
        return OUTCOME_RETRY;
    case STOP_CANCELLED:
    case STOP_DEADLINE:
    case STOP_HEADERS:
    case STOP_NO_MEMORY:
    case STOP_SOURCE:
    case STOP_SINK:
        return OUTCOME_FAILED;
    case STOP_NONE:
        break;
    }
    if (t->proxy_refused || *failure_hint(failure_text(t)))
        return OUTCOME_FAILED;
    return !t->request_sent && is_local(t->code) ? OUTCOME_FAILED : OUTCOME_RETRY;
}

/* ---- refusals ---- */

/* Locks are released after a while: the only refusals that another try mends. */
static bool is_lock_failure(const char *code)
{
    return is_code(code, "UNABLE_TO_LOCK_ROW") || is_code(code, "TooManyLockFailure");
}

/* Two 401s that no new token mends (so jsforce's http-api.ts, by reports of its users), and a text that is no token. */
static bool is_hopeless(const struct reply *reply)
{
    return is_code(reply->code, "INVALID_AUTH_HEADER") ||
           mentions(reply->message, "not valid for use with the REST API") ||
           mentions(reply->message, "Connected app is not attached to Agent");
}

/* Statuses of a server or proxy that has more work than it can do now, or none to pass it on to. 501 and 505 mean that
 * it can never do it. */
static bool is_temporary(long status)
{
    return status == 408 || status == 420 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

static enum outcome judge_refusal(long status, const struct reply *reply)
{
    if (is_temporary(status) || is_lock_failure(reply->code))
        return OUTCOME_RETRY;
    if (is_auth_refusal(status, reply->code) && !is_hopeless(reply))
        return OUTCOME_DEAD_TOKEN;
    return OUTCOME_FAILED;
}

/* Is it the service itself that refuses the request, and surely does nothing of it? */
static bool is_refusal(long status, const struct reply *reply)
{
    return reply->form == FORM_ERROR && status / 100 == 4 && !is_temporary(status);
}

/* ---- 2xx ---- */

static enum fault judge_job(enum verb verb, enum step step, const struct reply *reply, struct answer *a)
{
    a->state = reply->state ? job_state_from(reply->state) : STATE_UNKNOWN;
    if (!reply->id || !reply->state || !is_job_id(reply->id, strlen(reply->id)))
        return FAULT_NO_JOB;
    /* The last three of 18 characters are a check on letter case. */
    if (reply->expected_id && strncmp(reply->id, reply->expected_id, 15) != 0)
        return FAULT_OTHER_JOB;
    if (step == STEP_SEND && verb == VERB_ABORT && a->state != STATE_ABORTED)
        return FAULT_OTHER_STATE;
    if (step == STEP_SEND && verb == VERB_CLOSE &&
        (a->state == STATE_OPEN || a->state == STATE_ABORTED || a->state == STATE_UNKNOWN))
        return FAULT_OTHER_STATE;
    return FAULT_NONE;
}

static enum fault judge_csv(const struct transfer *t, const struct reply *reply)
{
    if (!response_is_csv(t))
        return FAULT_NO_CSV;
    if (reply->no_locator)
        return FAULT_NO_LOCATOR;
    if (reply->other_columns)
        return FAULT_COLUMNS;
    if (reply->bad_quote)
        return FAULT_QUOTE;
    if (reply->rows_cut)
        return FAULT_ROWS_CUT;
    return reply->rows_differ ? FAULT_ROWS_DIFFER : FAULT_NONE;
}

/* HTTP allows a response before the request is out, and libcurl sends no more then if the response ends the connection.
 * But nobody can have done what he was not told to the end. */
static bool is_early(const struct transfer *t)
{
    return !source_is_whole(&t->source) || t->bytes_out < t->source.sent;
}

static enum fault judge_success(const struct transfer *t, enum verb verb, enum step step, enum expect expect,
                                const struct reply *reply, struct answer *a)
{
    /* A 1xx is no last word, and 206 is a part of something: nobody asked for parts. */
    if (t->status / 100 != 2 || t->status == 206)
        return FAULT_UNEXPECTED;
    if (is_early(t))
        return FAULT_EARLY;
    switch (expect) {
    case EXPECT_NOTHING:
        return reply->form == FORM_EMPTY ? FAULT_NONE : FAULT_UNEXPECTED;
    case EXPECT_CSV:
    case EXPECT_FILE:
        return judge_csv(t, reply);
    case EXPECT_JOB:
    case EXPECT_OBJECT:
        break;
    }
    if (reply->form == FORM_EMPTY)
        return FAULT_EMPTY;
    if (reply->form != FORM_OBJECT)
        return FAULT_NO_JSON;
    return expect == EXPECT_JOB ? judge_job(verb, step, reply, a) : FAULT_NONE;
}

/* ---- all of them ---- */

/* A download that we ended ourselves, since what came was no good. */
static enum fault judge_download(const struct transfer *t, enum expect expect, const struct reply *reply)
{
    if (reply->download_differs)
        return FAULT_DIFFERS;
    if (reply->download_corrupt)
        return FAULT_CORRUPT;
    return expect == EXPECT_CSV && t->status / 100 == 2 && !response_is_csv(t) ? FAULT_NO_CSV : FAULT_NONE;
}

enum fault verdict(const struct transfer *t, enum verb verb, enum step step, enum expect expect,
                   const struct reply *reply, struct answer *a)
{
    memset(a, 0, sizeof *a);
    a->sent = t->request_sent;
    a->over = t->stop == STOP_DEADLINE;
    a->retry_after = reply->retry_after;
    bool whole = t->code == CURLE_OK && t->stop == STOP_NONE;
    enum fault fault = judge_download(t, expect, reply);
    bool answered = false;
    if (fault != FAULT_NONE) {
        a->outcome = fault == FAULT_DIFFERS ? OUTCOME_FAILED : OUTCOME_RETRY;
    } else if (t->status / 100 >= 3 && t->stop == STOP_NONE) { /* counts even when its body was cut off */
        fault = FAULT_REFUSED;
        answered = is_refusal(t->status, reply);
        a->outcome = judge_refusal(t->status, reply);
        a->not_found = answered && t->status == 404;
        a->wrong_state = answered && is_code(reply->code, "INVALIDJOBSTATE");
        /* "multiple", and also "multipe" (fact sheet, 11.9). */
        a->has_contents =
            answered && (mentions(reply->message, "multiple contents") || mentions(reply->message, "multipe contents"));
    } else if (!whole) {
        fault = FAULT_TRANSFER;
        a->outcome = judge_failure(t);
    } else if (reply->form == FORM_ERROR) { /* in theory errors come in a 2xx, too */
        fault = FAULT_REFUSED;
        a->outcome = judge_refusal(t->status, reply);
    } else {
        fault = judge_success(t, verb, step, expect, reply, a);
        answered = fault == FAULT_NONE;
        /* A wrong quote was written by the service, and is there the next time, too. */
        a->outcome = answered ? OUTCOME_OK : fault == FAULT_QUOTE ? OUTCOME_FAILED : OUTCOME_RETRY;
    }
    a->lost = a->sent && !answered;
    return fault;
}
