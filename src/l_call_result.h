/* What a call ends with: its result or its error. */
#ifndef BULKJOB_L_CALL_RESULT_H
#define BULKJOB_L_CALL_RESULT_H

#include "l_call_state.h"

/* Keeps the error on top as the one to return (`first`), or among what failed beside it; pops it. */
void bj_keep_error(lua_State *L, int ci, bool first);

/* Says in the error on top that nobody knows whether the verb took effect. */
void bj_set_doubt(lua_State *L, const struct call *c);

/* Completes the kept error with what is known only at the end. */
void bj_complete_error(lua_State *L, const struct call *c, int ci);

/* The job ended up where this verb cannot have it: says so in the kept error. */
void bj_explain_state(lua_State *L, const struct call *c, int ci);

/* Turns the good answer on top into the verb's result, which is kept; pops it. */
void bj_keep_result(lua_State *L, struct call *c, int ci);

#endif
