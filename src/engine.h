/* The thread that owns libcurl. One for each Lua state; started by its maker, joined by engine_free. */
#ifndef BULKJOB_ENGINE_H
#define BULKJOB_ENGINE_H

#include "channel.h"
#include "transfer.h"

#include <stdbool.h>

struct engine;

/* Starts the thread with this nice value added to the process's (Linux only; 0: as the process). NULL with a reason. */
struct engine *engine_new(int nice, const char **why);

/* Ends all transfers and joins the thread. In a forked child the thread is not there, and nothing is touched. */
void engine_stop(struct engine *e);

/* Shared by all that may still ask it something; the last one frees it, after engine_stop. Host's thread only. */
struct engine *engine_ref(struct engine *e);
void engine_unref(struct engine *e);

/* Was this process forked from the one that made the engine? Then it must not be used here. */
bool engine_is_foreign(const struct engine *e);

/* Hands a transfer over. It becomes `done` whatever happens. False when the engine was stopped or is another process's.
 */
bool engine_start(struct engine *e, struct transfer *t);

/* Asks for the end of a transfer; it becomes `done` soon. Never waits. */
void engine_cancel(struct engine *e, struct transfer *t);

/* The host has taken from the sink's queue, or put into the source's: lets a paused transfer go on. */
void engine_unpause(struct engine *e, struct transfer *t);

/* The news of the transfer go to this channel from now on, those that nobody has taken yet too. The host's thread only.
 */
void engine_watch(struct transfer *t, struct channel *c, double tag);

/* Watches a channel until engine_remove_channel: wakes its waiter when `deadline` (on the clock of clock_now; negative:
 * none) has come. When the channel has a socket and whoever waited at its other end is gone, ends the transfers that
 * are watched through it. */
void engine_add_channel(struct engine *e, struct channel *c, double deadline);
void engine_remove_channel(struct engine *e, struct channel *c);

#endif
