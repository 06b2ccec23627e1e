/* From a finished transfer to a Lua value, or to an error table. */
#ifndef BULKJOB_L_ANSWER_H
#define BULKJOB_L_ANSWER_H

#include "l_bulkjob.h"

/* Pushes what the answer says: the value that `expect` names, or an error. Fills `a`. `call` is the stack index of the
 * call, for its client and job. */
void bj_push_answer(lua_State *L, int call, const struct transfer *t, const struct verb_run *run, enum expect expect,
                    struct answer *a);

/* Pushes `text` with every occurrence of the client's token struck out, and then cut to `most` bytes: a service or
 * proxy may echo the request, and half a token is a secret too. */
void bj_push_masked(lua_State *L, int call, const char *text, size_t len, size_t most);

/* Adds to the table on top the id of the job that the call is about, if there is one, as `job_id`. */
void bj_name_job(lua_State *L, int call);

/* Adds to the error on top what every error of a request carries. */
void bj_describe_error(lua_State *L, int call, const struct transfer *t, const struct verb_run *run);

/* Does the answer that has begun hold what a request for CSV wants? Pages for people and JSON are something else. */
int bj_answer_is_csv(const struct transfer *t);

/* The service's time of day, by the Date header; ours when there is none. */
double bj_answer_clock(const struct transfer *t);

/* Is the record on top one that a create of `spec`, sent at `oldest` or later (service's time), may have made? */
int bj_may_be_stray(lua_State *L, int spec, int open_only, double oldest);

/* Pushes the locator of the page that follows the job list page on top, and answers 1; or answers 0. */
int bj_push_next_page(lua_State *L);

#endif
