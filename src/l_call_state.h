/* The state of a call, for the files that carry it out. In all of their functions `ci` is the stack index of the call.
 */
#ifndef BULKJOB_L_CALL_STATE_H
#define BULKJOB_L_CALL_STATE_H

#include "download.h"
#include "l_request.h"

extern const char bj_call_class[];

enum phase {
    PHASE_SEND,    /* a request goes out at `resume_at` */
    PHASE_RUNNING, /* it is out */
    PHASE_TOKEN,   /* the host has to get a token */
    PHASE_DONE,
};

struct call {
    struct verb_run run;
    enum phase phase;
    double resume_at;
    struct request request; /* of the verb itself; its texts are kept in the user value */
    struct engine *engine;  /* a reference, while requests may go out */
    struct transfer *transfer;

    bool once;    /* BODY_QUEUE: the host cannot push it all again */
    bool restart; /* it has to */
    bool pushed;
    bool finished; /* the host has pushed all */
    int bodies;    /* whole bodies that may have arrived */

    struct download download; /* EXPECT_CSV */
    char *piece;              /* for call:read() */
    size_t piece_len;         /* of these the host has not got yet */
    bool counted;             /* it is a page of results, whose rows are counted */
    bool of_query;            /* and that of a query, which has to say where the next one is */
    struct csv_count count;   /* of what call:read() has given */
    bool no_csv;              /* the response is something else */

    bool cleanup;         /* an abort that the user did not ask for */
    bool stuck;           /* it could be tried again if the source could be read again */
    bool sent;            /* a request has gone to the engine */
    bool wants_events;    /* there is an on_event */
    struct secret *token; /* with which the last request went out; not of a login */
    unsigned short random_state[3];
    double sent_at;    /* when the last request went out */
    double lost_from;  /* when the first one went out that was lost */
    double lost_until; /* when the last one was lost */

    struct secret **secrets; /* of a login */
    size_t secret_count;
};

struct call *bj_check_call(lua_State *L, int i);

/* Ends the transfer, if there is one, and lets go of what the garbage collector may be slow to free, or in a state that
 * is being closed may never free. */
void bj_release_call(struct call *c);

/* The same, and its texts in Lua: an upload's may be large, and its job lives on. */
void bj_finish_call(lua_State *L, struct call *c, int ci);

/* Adds to the table on top the id of the job that the call is about, if there is one, as `job_id`. */
void bj_name_job(lua_State *L, int ci);

/* What on_event is to be told; kept until the host takes it. `error` is the stack index of the error, or 0. */
void bj_report_request(lua_State *L, const struct call *c, int ci, int error);
void bj_report_retry(lua_State *L, const struct call *c, int ci, int error);
void bj_report_state(lua_State *L, const struct call *c, int ci, enum job_state from, enum job_state to);

/* A create that is over may have left empty open jobs. They can process nothing, so nobody touches them. */
void bj_report_strays(lua_State *L, const struct call *c, int ci);

#endif
