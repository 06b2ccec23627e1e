/* A client: one org, how to reach it, and who asks. */
#ifndef BULKJOB_L_CLIENT_H
#define BULKJOB_L_CLIENT_H

#include "l_engine.h"
#include "l_secret.h"
#include "retry.h"
#include "settings.h"

struct client {
    struct settings *settings;
    struct retry_policy retry;
    char *base;                  /* "https://host", no slash at the end */
    char *version;               /* "66.0" */
    struct secret *token;        /* NULL: none yet */
    struct secret *token_before; /* texts that hold it may still be under way */
    struct engine *engine;       /* a reference, from the first request on */
    int nice;
    int renewable;       /* there is an auth source to ask for a token */
    int wants_events;    /* there is an on_event */
    double service_time; /* what to add to clock_now() for the service's time of day; 0: not known yet */
    char date[32];       /* the Date header that this was read from */
    int closed;

    struct channel *task_channel; /* a reference: where the news of its tasks come. NULL: it has none yet */
    int idle;                     /* none of its tasks can go on before there is news */
    int tasks;                    /* how many there are, while it is idle */
};

/* Raises unless the URL, given as the option `name`, is scheme://host[:port] and nothing more: the rest of each URL is
 * ours. Answers its length without slashes at the end. */
size_t bj_check_origin(lua_State *L, const struct client *c, const char *name, const char *url);

/* The client at `i`; raises when it is none or closed. */
struct client *bj_check_client(lua_State *L, int i);

/* client:close() will call the method `cancel` of the object on top, if it is still there then. */
void bj_client_add_call(lua_State *L, int i);

#endif
