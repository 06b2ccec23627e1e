/* For C programs that host Lua and have the core linked in (libbulkjob.a). */
#ifndef BULKJOB_H
#define BULKJOB_H

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* Opens the core, as `require "bulkjob.core"` does: leaves one table on the stack, answers 1, and raises when there is
 * no memory. It starts no thread. A host does not call it, but puts it into package.preload["bulkjob.core"], where the
 * Lua half, `require "bulkjob"`, finds it. Each Lua state has an engine of its own, so states may live in different
 * threads; lua_close ends what is under way in its state, and joins its thread. */
int luaopen_bulkjob_core(struct lua_State *L);

#ifdef __cplusplus
}
#endif

#endif
