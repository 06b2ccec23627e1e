/* What one waiter of the host waits on. */
#ifndef BULKJOB_L_CHANNEL_H
#define BULKJOB_L_CHANNEL_H

#include "channel.h"
#include "l_class.h"

/* The channel at `i`; raises when it is none, closed, or from before a fork. */
struct channel *bj_check_channel(lua_State *L, int i);

#endif
