/* Error tables. */
#ifndef BULKJOB_L_ERROR_H
#define BULKJOB_L_ERROR_H

#include "l_class.h"

/* The kinds of error a user can tell apart (err.kind). */
#define BJ_ERR_API "api"
#define BJ_ERR_AUTH "auth"
#define BJ_ERR_NETWORK "network"
#define BJ_ERR_TIMEOUT "timeout"
#define BJ_ERR_PROTOCOL "protocol"
#define BJ_ERR_IO "io"
#define BJ_ERR_CSV "csv"
#define BJ_ERR_JOB "job"
#define BJ_ERR_CANCELLED "cancelled"

/* The code of an error of the kind "io": a file is not any more what it was when it was checked. */
#define BJ_CODE_CHANGED "CONTENT_CHANGED"

/* Pushes an error table with kind, code (absent when NULL) and a formatted message (luaL's formats: %s %d %f %c %%), in
 * which secrets are masked. */
void bj_push_error(lua_State *L, const char *kind, const char *code, const char *format, ...);

/* Pushes nil and such an error; returns 2, so that a C function can end with it. */
int bj_fail(lua_State *L, const char *kind, const char *code, const char *format, ...);

/* Appends to the message of the error on top. */
void bj_add_message(lua_State *L, const char *format, const char *value);

/* Copies the fields of the table at `from` into the one at `to`; bj_add_fields only those that are not there. */
void bj_copy_fields(lua_State *L, int from, int to);
void bj_add_fields(lua_State *L, int from, int to);

#endif
