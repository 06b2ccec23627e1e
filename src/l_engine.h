/* The one engine of a Lua state. */
#ifndef BULKJOB_L_ENGINE_H
#define BULKJOB_L_ENGINE_H

#include "engine.h"
#include "l_class.h"

/* The engine of this Lua state and process, started now if it does not run yet, with a reference for the caller. NULL,
 * with a reason, when it cannot be started: no thread, descriptor or memory is left. */
struct engine *bj_engine(lua_State *L, int nice, const char **why);

/* Raises when the process forked since the engine was started: its thread is not in the new process. */
void bj_check_process(lua_State *L, const struct engine *e);

#endif
