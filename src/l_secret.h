/* The secrets of a Lua state: tokens, passwords, keys. Whoever has one enters it here, so that no text that leaves us
 * holds it: a service or proxy may echo the request. */
#ifndef BULKJOB_L_SECRET_H
#define BULKJOB_L_SECRET_H

#include "l_class.h"

#include <stdbool.h>

/* One secret in the list of its state; all zero: none. */
struct secret {
    char *text; /* owned */
    struct secret *next;
    struct secret **at; /* what points to it */
};

/* Enters a copy of `text`, in place of what `s` held. False: out of memory, and `s` is unchanged. */
bool bj_secret_set(lua_State *L, struct secret *s, const char *text);

/* Wipes it and takes it out of the list. Twice is harmless. */
void bj_secret_clear(struct secret *s);

/* Hands what `from` holds over to `to`, whose own is wiped. */
void bj_secret_move(struct secret *from, struct secret *to);

/* Pushes `text` with every occurrence of a secret struck out, and then cut to `most` bytes: half a secret is one, too.
 */
void bj_push_masked(lua_State *L, const char *text, size_t len, size_t most);

/* Replaces the string on top by what can be shown of it; any other value stays. */
void bj_mask_top(lua_State *L, size_t most);

#endif
