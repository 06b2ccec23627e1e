/* The functions with which the files of the binding add what is theirs to the module table on top of the stack. Only
 * l_open.c calls them. */
#ifndef BULKJOB_L_OPEN_H
#define BULKJOB_L_OPEN_H

#include "compat.h"

void bj_open_auth(lua_State *L);
void bj_open_drive(lua_State *L);
void bj_open_channel(lua_State *L);
void bj_open_client(lua_State *L);
void bj_open_csv(lua_State *L);
void bj_open_csv_check(lua_State *L);
void bj_open_directory(lua_State *L);
void bj_open_engine(lua_State *L);
void bj_open_error(lua_State *L);
void bj_open_file(lua_State *L);
void bj_open_job(lua_State *L);
void bj_open_json(lua_State *L);
void bj_open_schema(lua_State *L);
void bj_open_terminal(lua_State *L);
void bj_open_verbs(lua_State *L);

#endif
