/* A call: one verb on its way, from the first request to its result. The Lua half calls step() and waits. */
#ifndef BULKJOB_L_CALL_H
#define BULKJOB_L_CALL_H

#include "l_class.h"
#include "verdict.h"

#include <sys/types.h>

struct call;

/* Pushes a call: `verb` for `client` (and `job`, or 0), by `method` on the path (below /services/data/vXX.X/) on top of
 * the stack, which it replaces. */
struct call *bj_push_call(lua_State *L, enum verb verb, int client, int job, const char *method, enum expect expect);

/* The functions below prepare the call at the stack index `i` before its first step. */

/* Takes its body and the body's content type, both strings on top of the stack, the type above. */
void bj_call_body(lua_State *L, int i);

/* Its body is a range of a file, the descriptor of which then belongs to the call. Takes three values on top of the
 * stack: the path for messages, what goes before the range (or nil), and above them the checksum that the body has to
 * have (or nil). */
void bj_call_file(lua_State *L, int i, int fd, off_t first, off_t size);

/* Its body is what the host will push. */
void bj_call_queue(struct call *c);

/* Its path is a whole URL, that of a token endpoint. Takes an array of strings on top of the stack, none of which must
 * ever be shown. */
void bj_call_login(lua_State *L, int i);

/* It creates a job as the table on top of the stack says, which it takes. */
void bj_call_spec(lua_State *L, int i);

/* Its response is a page of results, whose rows are counted; those of a query are compared with what its headers say.
 */
void bj_call_count(struct call *c, bool query);

/* What goes to the file has to have the first line on top of the stack, which is taken. */
void bj_call_header(lua_State *L, int i);
/* Where an EXPECT_FILE goes; the descriptor then belongs to the call. Takes the path for messages on top of the stack.
 */
void bj_call_sink(lua_State *L, int i, int fd, bool skip_line);

/* It is an abort that the user did not ask for: given up when a close of the job is sent before it. At most so many
 * tries, where the client's policy would allow more. */
void bj_call_cleanup(struct call *c, int tries);

/* It is over after so many seconds, where the client would allow more. */
void bj_call_seconds(struct call *c, double seconds);

#endif
