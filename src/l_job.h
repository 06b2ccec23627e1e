/* Handles on jobs: what is known of a job without a request. */
#ifndef BULKJOB_L_JOB_H
#define BULKJOB_L_JOB_H

#include "job.h"
#include "l_class.h"

struct job {
    enum job_kind kind;
    enum job_state state;
    int ours;             /* made by this handle's client, not opened by its id */
    int uploaded;         /* an upload was acknowledged */
    int lost_creates;     /* there may be as many empty open jobs beside it */
    int closes;           /* close requests that were sent and not refused: each may have its effect, now or later */
    int aborts;           /* abort requests that were sent */
    struct bodies bodies; /* uploads that may have arrived */
};

struct job *bj_check_job(lua_State *L, int i);

/* "ingest" or "query"; NULL: not known. */
const char *bj_kind_name(enum job_kind kind);

/* The kind that the option at `i` names. */
enum job_kind bj_check_kind(lua_State *L, int i);

/* A new handle for `client` (a stack index) and the id on top of the stack, which it replaces. */
struct job *bj_push_job(lua_State *L, int client, enum job_kind kind);

/* Pushes what belongs to the job at `i`: its id, its client, a table of all that is known of it, the upload under way
 * or nil. */
void bj_job_id(lua_State *L, int i);
void bj_job_client(lua_State *L, int i);
void bj_job_info(lua_State *L, int i);
void bj_job_upload(lua_State *L, int i);

/* The job at `i` was made by a create of ours; the client knows its org. */
void bj_job_is_ours(lua_State *L, int i);

/* Finds the handle that counts the closes of the job at `i`: the one that create gave, which would roll the job back,
 * as long as somebody holds it, or else the handle itself. The client knows its org. */
struct job *bj_find_closer(lua_State *L, int i);

/* The handle that bj_find_closer has found. Never raises. */
struct job *bj_closer(lua_State *L, int i);

/* Takes the value on top as its upload under way. */
void bj_set_job_upload(lua_State *L, int i);

/* Takes over what the info table at `info` tells about the job at `i`, and adds to it what else is known of that. */
void bj_update_job(lua_State *L, int i, int info);

#endif
