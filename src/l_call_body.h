/* The bytes of a call that pass through the host: CSV that it reads as it comes, and bodies that it pushes. */
#ifndef BULKJOB_L_CALL_BODY_H
#define BULKJOB_L_CALL_BODY_H

#include "l_call_state.h"

/* Is there a CSV response under way that the host can take bytes from? One that turns out to be something else is
 * ended; the failure is found when it is done. */
bool bj_may_take(struct call *c);

/* The queue that the host pushes into, or NULL. */
struct queue *bj_open_queue(struct call *c);

/* Methods: call:fill, call:read, call:push, call:set_once, call:finish. */
int bj_call_fill(lua_State *L);
int bj_call_read(lua_State *L);
int bj_call_push(lua_State *L);
int bj_call_set_once(lua_State *L);
int bj_call_finish(lua_State *L);

#endif
