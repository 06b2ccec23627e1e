/* CSV to and from Lua. */
#ifndef BULKJOB_L_CSV_H
#define BULKJOB_L_CSV_H

#include "csv.h"
#include "l_class.h"

/* At most so many bytes of a file are read at a time. */
enum { BJ_FILE_PIECE = 64 * 1024 };

/* The reader behind a core.csv_reader userdata at `i`; raises when it is none or closed. */
struct csv_reader *bj_check_csv_reader(lua_State *L, int i);

/* The delimiter that the option on top names: by the service's name, or itself. 0 for nil. Raises for anything else. */
char bj_check_delimiter(lua_State *L);

/* Adds to the error on top where in the CSV it is, both counted from 1. Answers 2, for nil, err. */
int bj_at_place(lua_State *L, unsigned long long line, unsigned long long byte);

/* Pushes nil, and as an error of the kind "csv" what is wrong with the data that the reader has got; answers 2. */
int bj_fail_csv(lua_State *L, const struct csv_reader *r);

#endif
