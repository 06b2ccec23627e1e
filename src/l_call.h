/* What the files share that carry out a call: one verb on its way, from the first request to its result. */
#ifndef BULKJOB_L_CALL_H
#define BULKJOB_L_CALL_H

#include "inflow.h"
#include "l_answer.h"
#include "l_bulkjob.h"

enum body_kind { BODY_NONE, BODY_TEXT, BODY_FILE, BODY_QUEUE };

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
    const char *method;    /* of the verb itself */
    enum expect expect;    /* of its answer */
    struct engine *engine; /* a reference, while requests may go out */
    struct transfer *transfer;

    enum body_kind body;
    const char *body_type; /* NULL: kept as "body_type" */
    int fd;                /* BODY_FILE */
    off_t first;
    off_t size;
    bool repeatable; /* BODY_QUEUE: the host can push it all again */
    bool restart;    /* and has to */
    bool pushed;
    bool finished; /* the host has pushed all */

    int sink_fd; /* EXPECT_FILE */
    off_t sink_base;
    bool skip_line;

    struct inflow in;       /* EXPECT_CSV */
    char *piece;            /* for call:read() */
    bool counted;           /* it is a page of a query, whose rows are counted */
    struct csv_count count; /* of what call:read() has given */
    bool foreign;           /* the answer is no CSV at all */

    bool stuck;           /* it could be tried again if the source could be read again */
    bool sent;            /* a request has gone to the engine */
    bool bare;            /* it goes to a whole URL, and without the client's token */
    unsigned long tokens; /* the client's count when the request went out */
    unsigned short dice[3];
    int lost_sends; /* creates whose answer was lost */
};

/* In all of these `ci` is the stack index of the call. */

/* ---- l_call.c ---- */

/* The end: what the garbage collector may be slow to free, or in a state that is being closed may never free, is let go
 * at once. */
void bj_finish_call(struct call *c);

/* Raises when the process forked since the engine was started. */
void bj_check_process(lua_State *L, const struct engine *e);

/* Appends to the message of the error on top. */
void bj_add_message(lua_State *L, const char *format, const char *value);

/* ---- l_request.c ---- */

/* Sends the request of the step at hand, or ends the call with an error. */
void bj_start_request(lua_State *L, struct call *c, int ci);

/* ---- l_event.c ---- */

/* Appends an event of this type and leaves it on the stack, and answers 1; or, when nobody watches, 0. */
int bj_push_event(lua_State *L, int ci, const char *type);

/* `error` is the stack index of the error, or 0. */
void bj_report_request(lua_State *L, const struct call *c, int ci, int error);
void bj_report_retry(lua_State *L, const struct call *c, int ci, int error);
void bj_report_state(lua_State *L, int ci, enum job_state from, enum job_state to);

/* ---- l_stray.c: the jobs that creates with lost answers may have left ---- */

/* Takes from the page of the job list on top the jobs that this create may have made. Answers 1 when there is another
 * page to ask for. */
int bj_gather_strays(lua_State *L, struct call *c, int ci);

/* Drops the strays that are not to be aborted: other users', and all of them as long as we do not know our own user,
 * when there are more than can be ours, or when another create of ours is under way. All but the first are doubtful.
 * Answers how many are left to abort. */
int bj_sort_strays(lua_State *L, struct call *c, int ci);

/* Pushes the path of the stray to abort next. */
void bj_push_stray_path(lua_State *L, int ci);

/* That one is dealt with, and leaves the list. */
void bj_drop_stray(lua_State *L, int ci, int error);

/* Names the doubtful ones in the error on top. */
void bj_name_strays(lua_State *L, int ci);

#endif
