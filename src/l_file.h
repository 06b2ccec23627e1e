/* Files for the calls of the binding. */
#ifndef BULKJOB_L_FILE_H
#define BULKJOB_L_FILE_H

#include "l_class.h"

/* A descriptor for what the value at `i` names to write to: an output of core.begin_output, or the path of a file of
 * our own. Pushes the path to name in errors. Answers -1 and *why (files.h) when it cannot be had. */
int bj_open_output(lua_State *L, int i, int *why);

/* Reads at most `count` bytes of the core.open_input at `i` from where it stands; `done`: so many, 0 at its end.
 * Answers 0, or the results of a failure. */
int bj_read_input(lua_State *L, int i, char *to, size_t count, size_t *done);

#endif
