/* From a finished transfer to a Lua value, or to an error table: words, and nothing but. What it means for the verb is
 * decided in verdict.c. */
#ifndef BULKJOB_L_ANSWER_H
#define BULKJOB_L_ANSWER_H

#include "l_class.h"
#include "verdict.h"

/* Reads the body of a finished transfer. Pushes three values: the decoded body (nil: no JSON), and the code and message
 * that it gives (each a string or nil); the strings in `r` live as long as they do. `login`: the response is that of a
 * token endpoint, whose errors have another form, and no part of its body may be shown. */
enum { REPLY_VALUES = 3 };
void bj_push_reply(lua_State *L, const struct transfer *t, enum expect expect, bool login, struct reply *r);

/* Pushes the result of a response in which nothing is wrong. `reply` is the stack index of what bj_push_reply pushed.
 */
void bj_push_result(lua_State *L, const struct transfer *t, enum expect expect, const struct reply *r, int reply);

/* Pushes the error for what is wrong. */
void bj_push_fault(lua_State *L, enum fault fault, const struct transfer *t, bool login, const struct reply *r,
                   int reply);

/* Adds to the error on top, of FAULT_QUOTE, where that quote is: `row`, behind the header, and `byte` of the page, both
 * from 1. */
void bj_describe_quote(lua_State *L, const struct csv_count *count);

#endif
