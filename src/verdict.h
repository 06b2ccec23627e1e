/* What a finished transfer means for the verb that it was made for. Pure: no I/O, no clock, no Lua. */
#ifndef BULKJOB_VERDICT_H
#define BULKJOB_VERDICT_H

#include "job.h"
#include "transfer.h"

/* What a 2xx response has to hold. */
enum expect {
    EXPECT_NOTHING, /* 201 of an upload, 204 of a delete */
    EXPECT_JOB,     /* a job info object */
    EXPECT_OBJECT,  /* any JSON object */
    EXPECT_CSV,     /* read by the host as it comes */
    EXPECT_FILE,    /* CSV into a file */
};

/* What the body turned out to be. */
enum form {
    FORM_EMPTY,
    FORM_OBJECT, /* a JSON object, and no error */
    FORM_ERROR,  /* the service's errors in JSON */
    FORM_OTHER,
};

/* What was read in the response. Strings are NULL when they are not there. */
struct reply {
    enum form form;
    const char *code;    /* of FORM_ERROR; anything else has none that counts */
    const char *message; /* of FORM_ERROR */
    const char *id;      /* of FORM_OBJECT */
    const char *state;
    const char *expected_id; /* of the job that the request was about */
    bool download_differs;   /* what came at a second try is not what came at the first */
    bool download_corrupt;   /* its gzip body is damaged */
    bool counted;            /* the rows of a page of results were counted */
    unsigned long long rows;
    bool no_locator;    /* the page does not say where the next one is, or that there is none */
    bool other_columns; /* its header is not that of the pages before it */
    bool bad_quote;     /* a quote stands where none may */
    bool rows_cut;      /* the page ends inside a row */
    bool rows_differ;   /* it does not hold as many as it promises */
    double retry_after; /* seconds; negative: not asked for */
};

/* Why a response is no success, for the words of the error. */
enum fault {
    FAULT_NONE,
    FAULT_TRANSFER,    /* the transfer failed: see its code and stop */
    FAULT_REFUSED,     /* a status that is no success, or the service's errors */
    FAULT_EMPTY,       /* no body where JSON has to be */
    FAULT_NO_JSON,     /* another body where a JSON object has to be */
    FAULT_NO_JOB,      /* an object without the id and state of a job */
    FAULT_OTHER_JOB,   /* info of another job */
    FAULT_OTHER_STATE, /* the job is not in the state that was asked for */
    FAULT_NO_CSV,      /* another body where CSV has to be */
    FAULT_UNEXPECTED,  /* a body where none has to be, or a part of one */
    FAULT_EARLY,       /* it came before the body of the request was out */
    FAULT_DIFFERS,
    FAULT_CORRUPT,
    FAULT_NO_LOCATOR,
    FAULT_COLUMNS,
    FAULT_QUOTE,
    FAULT_ROWS_CUT,
    FAULT_ROWS_DIFFER,
};

/* Judges the response to the request of `step`. */
enum fault verdict(const struct transfer *t, enum verb verb, enum step step, enum expect expect,
                   const struct reply *reply, struct answer *a);

/* Equal as error codes: case and underscores do not count (the guide, the REST layer and Bulk 2.0 spell them
 * differently). */
bool same_code(const char *a, const char *b);

/* Is it a status in which only signing in again can help? */
bool is_auth_refusal(long status, const char *code);

/* Does the response that has begun hold what a request for CSV wants? Pages for people and JSON are something else. */
bool response_is_csv(const struct transfer *t);

/* The service's time of day by the Date header, in seconds since 1970; -1: it is not there. */
double response_date(const struct transfer *t);

/* Letters and digits, 15 or 18 of them (the guide: an id has 15, and three more as a check on letter case). */
bool is_job_id(const char *id, size_t len);

#endif
