/* Classes and objects: metatables, userdata, and the table of Lua values that belongs to a userdata. Above the line, as
 * all l_ files: only they include lua.h. */
#ifndef BULKJOB_L_CLASS_H
#define BULKJOB_L_CLASS_H

#include "compat.h"

#include <stddef.h>

/* Every whole number up to this one is a lua_Number; beyond it, numbers no longer tell whole ones apart. */
#define BJ_WHOLE_MAX 9007199254740992.0

/* A class is known by its name, always the same array: its address is the key.
 *
 * Makes the metatable `name` with `methods` as __index, `meta` as metamethods, and a __metatable that hides it. Leaves
 * the stack as it was. */
void bj_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* Pushes the metatable of a class. */
void bj_get_class(lua_State *L, const char *name);

/* The object of this class at `i`; raises a bad argument when it is none. */
void *bj_check_object(lua_State *L, int i, const char *name);

/* A userdata of `size` zero bytes with the metatable of `name` and an empty table as its user value, on top of the
 * stack: valid and closed before anything that can fail. */
void *bj_new_object(lua_State *L, const char *name, size_t size);

/* Each pops one value into (or pushes one from) the user value table of the userdata at `i`. The names belong to the
 * file that makes the userdata: others ask that file. */
void bj_keep(lua_State *L, int i, const char *name);
void bj_kept(lua_State *L, int i, const char *name);

/* Pushes what the host has under this name, or nil: the global, read raw, since a host may refuse to read one that is
 * not there; else the module of this name that is loaded (nginx gives each request globals of its own). */
void bj_push_host(lua_State *L, const char *name);

/* Raises a message in luaL_error's format and with its position. */
_Noreturn void bj_misuse(lua_State *L, const char *format, ...);

/* Raises a message without a position: the Lua function next to us is our own, not the user's. */
_Noreturn void bj_raise(lua_State *L, const char *message);

/* Raises "not enough memory". */
_Noreturn void bj_no_memory(lua_State *L);

#endif
