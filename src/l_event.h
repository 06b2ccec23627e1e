/* The tables that on_event is called with. Each function appends one to the array at the stack index `list`. */
#ifndef BULKJOB_L_EVENT_H
#define BULKJOB_L_EVENT_H

#include "job.h"
#include "l_class.h"
#include "transfer.h"

/* What belongs into the events and errors of each request: the table is on top. `attempt`: counted from 1. */
void bj_describe_request(lua_State *L, const struct transfer *t);

/* `error` is the stack index of the error, or 0. Both leave the event on the stack. */
void bj_push_request_event(lua_State *L, int list, const struct transfer *t, int attempt, int error);
void bj_push_retry_event(lua_State *L, int list, double delay, int attempt, int error);
void bj_push_state_event(lua_State *L, int list, enum job_state from, enum job_state to);

/* So many creates were lost between two moments, in seconds since 1970 by the service's clock. `spec`: the request body
 * as a table. */
void bj_push_stray_event(lua_State *L, int list, int spec, int count, double from, double to);

#endif
