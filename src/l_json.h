/* JSON, by a lua-cjson of our own. */
#ifndef BULKJOB_L_JSON_H
#define BULKJOB_L_JSON_H

#include "l_class.h"

/* Decodes `text`. Pushes the value and answers 1, or pushes nothing and answers 0. Half a character, which the service
 * can send when it cuts a text of the user's, becomes U+FFFD. */
int bj_json_decode(lua_State *L, const char *text, size_t len);

/* Replaces the value on top by its JSON text. Raises for what JSON cannot hold. */
void bj_json_encode(lua_State *L);

/* Is the value at `i` JSON's null? */
int bj_is_null(lua_State *L, int i);

#endif
