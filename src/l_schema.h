/* The types of what the service sends. */
#ifndef BULKJOB_L_SCHEMA_H
#define BULKJOB_L_SCHEMA_H

#include "l_class.h"

/* Gives the fields of the job info table at `i` the types of the service's schema, and removes nulls. */
void bj_type_job_info(lua_State *L, int i);

/* Makes every whole number in the table at `i` an integer, at any depth, and removes nulls. */
void bj_type_plain(lua_State *L, int i);

#endif
