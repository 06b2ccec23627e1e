/* The secrets of a Lua state: tokens, passwords, keys. Whoever has one enters it here, so that no text that leaves us
 * holds it: a service or proxy may echo the request. */
#ifndef BULKJOB_L_SECRET_H
#define BULKJOB_L_SECRET_H

#include "l_class.h"

/* One secret in the list of its state, as long as somebody has a reference. */
struct secret {
    int refs;
    struct secret *next;
    struct secret **at; /* what points to it */
    char text[];
};

/* Enters a copy of `text`. NULL: out of memory. */
struct secret *bj_secret_new(lua_State *L, const char *text);

/* These take NULL, too. The last reference wipes it. */
struct secret *bj_secret_ref(struct secret *s);
void bj_secret_unref(struct secret *s);

/* Gives up what *slot holds for `s`, a reference that now belongs to the slot. */
void bj_secret_put(struct secret **slot, struct secret *s);

/* Pushes `text` with every occurrence of a secret, and credentials in an echoed header, struck out, and then cut to
 * `most` bytes: a part of a secret must not be shown either.
 */
void bj_push_masked(lua_State *L, const char *text, size_t len, size_t most);

/* Replaces the string on top by what can be shown of it; any other value stays. */
void bj_mask_top(lua_State *L, size_t most);

#endif
