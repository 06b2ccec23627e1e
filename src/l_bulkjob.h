/* What the binding files share. Above the line: only l_*.c include this. */
#ifndef BULKJOB_L_BULKJOB_H
#define BULKJOB_L_BULKJOB_H

#include "compat.h"
#include "engine.h"
#include "job.h"
#include "retry.h"

struct csv_reader;

/* ---- l_core.c ---- */

/* Makes the metatable `name` with `methods` as __index, `meta` as metamethods, and a __metatable that hides it. Leaves
 * the stack as it was. */
void bj_new_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* A userdata of `size` zero bytes with the metatable of `name` and an empty table as its user value, on top of the
 * stack: valid and closed before anything that can fail. */
void *bj_new_object(lua_State *L, const char *name, size_t size);

/* Each pops one value into (or pushes one from) the user value table of the userdata at `i`. */
void bj_keep(lua_State *L, int i, const char *name);
void bj_kept(lua_State *L, int i, const char *name);

/* ---- l_error.c ---- */

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

/* Pushes an error table with kind, code (absent when NULL) and a formatted message (luaL's formats: %s %d %f %c %%). */
void bj_push_error(lua_State *L, const char *kind, const char *code, const char *format, ...);

/* Pushes nil and such an error; returns 2, so that a C function can end with it. */
int bj_fail(lua_State *L, const char *kind, const char *code, const char *format, ...);

/* Raises a message without a position: the Lua function next to us is our own, not the user's. */
void bj_raise(lua_State *L, const char *message);

/* ---- l_json.c ---- */

/* Decodes `text`. Pushes the value and answers 1, or pushes nothing and answers 0. */
int bj_json_decode(lua_State *L, const char *text, size_t len);

/* Replaces the value on top by its JSON text. Raises for what JSON cannot hold. */
void bj_json_encode(lua_State *L);

/* Is the value at `i` JSON's null? */
int bj_is_null(lua_State *L, int i);

/* ---- l_schema.c ---- */

/* Gives the fields of the job info table at `i` the types of the service's schema, and removes nulls. */
void bj_type_job_info(lua_State *L, int i);

/* Makes every whole number in the table at `i` an integer, at any depth, and removes nulls. */
void bj_type_plain(lua_State *L, int i);

/* ---- l_engine.c ---- */

/* The engine of this Lua state and process, started now if it does not run yet, with a reference for the caller. Raises
 * when it cannot be started. */
struct engine *bj_engine(lua_State *L, int nice);

/* Keeps the value at `i` alive until `t` is done, and a moment longer: until the next of these two calls. */
void bj_pin(lua_State *L, struct transfer *t, int i);
void bj_unpin_done(lua_State *L);

/* ---- l_channel.c ---- */

/* The channel at `i`; raises when it is none, closed, or from before a fork. */
struct channel *bj_check_channel(lua_State *L, int i);

/* ---- l_client.c ---- */

struct client {
    struct settings *settings;
    struct retry_policy retry;
    char *base;            /* "https://host", no slash at the end */
    char *version;         /* "66.0" */
    char *token;           /* NULL: none yet */
    unsigned long tokens;  /* how many there were */
    struct engine *engine; /* a reference, from the first request on */
    int nice;
    int renewable; /* there is an auth source to ask for a token */
    int watched;   /* there is an on_event */
    int closed;

    struct channel *pulse; /* a reference: where the news of its tasks come. NULL: it has none yet */
    int calm;              /* nothing of them moves before there is news */
    int left;              /* how many there are, while it is calm */
};

/* Raises unless the URL, given as the option `name`, is scheme://host[:port] and nothing more: the rest of each URL is
 * ours. Answers its length without slashes at the end. */
size_t bj_check_origin(lua_State *L, const struct client *c, const char *name, const char *url);

/* The client at `i`; raises when it is none or closed. */
struct client *bj_check_client(lua_State *L, int i);

/* ---- l_job.c ---- */

struct job {
    enum job_kind kind;
    enum job_state state;
    int ours;     /* made by this handle's client, not opened by its id */
    int uploaded; /* an upload was acknowledged */
    int lost;     /* how many answers were lost when it was created: there may be as many jobs beside it */
};

struct job *bj_check_job(lua_State *L, int i);

/* A new handle for `client` (a stack index) and the id on top of the stack, which it replaces. */
struct job *bj_push_job(lua_State *L, int client, enum job_kind kind);

/* Takes over what the info table at `info` tells about the job at `i`, and pushes a fresh table of all that is known.
 */
void bj_update_job(lua_State *L, int i, int info);

/* ---- l_call.c ---- */

/* What a 2xx answer has to hold. */
enum expect {
    EXPECT_NOTHING, /* 201 of an upload, 204 of a delete */
    EXPECT_JOB,     /* a job info object */
    EXPECT_OBJECT,  /* any JSON object */
    EXPECT_CSV,     /* read by the host as it comes */
    EXPECT_FILE,    /* CSV into a file */
};

struct call;

/* Pushes a call: `verb` for `client` (and `job`, or 0), by `method` on the path (below /services/data/vXX.X/) on top of
 * the stack, which it replaces. */
struct call *bj_push_call(lua_State *L, enum verb verb, int client, int job, const char *method, enum expect expect);

/* Gives the call at `i` the string on top of the stack as its body, and pops it. `type` is static; NULL: what is kept
 * as "body_type". */
void bj_call_body(lua_State *L, int i, const char *type);
/* At most this many tries, where the client's policy would allow more. */
void bj_call_tries(lua_State *L, int i, int tries);
/* A range of a file; the descriptor then belongs to the call. */
void bj_call_file(struct call *c, const char *type, int fd, off_t first, off_t size);
/* What the host will push. `repeatable`: it can do so again from the start. */
void bj_call_queue(struct call *c, const char *type, int repeatable);
/* Its answer is a page of a query, whose rows are held against what the service says. */
void bj_call_count(struct call *c);
/* Where an EXPECT_FILE goes; the descriptor then belongs to the call. */
void bj_call_sink(struct call *c, int fd, int skip_line);

/* ---- l_csv.c ---- */

/* The reader behind a core.csv_reader userdata at `i`; raises when it is none or closed. */
struct csv_reader *bj_check_csv_reader(lua_State *L, int i);

/* The delimiter that the option on top names: by the service's name, or itself. 0 for nil. Raises for anything else. */
char bj_check_delimiter(lua_State *L);

/* Adds to the error on top where in the CSV it is, both counted from 1. Answers 2, for nil, err. */
int bj_at_place(lua_State *L, unsigned long long line, unsigned long long byte);

/* Pushes nil, and as an error of the kind "csv" what is wrong with the data that the reader has got; answers 2. */
int bj_fail_csv(lua_State *L, const struct csv_reader *r);

/* ---- each adds its functions to the module table on top of the stack ---- */

void bj_open_error(lua_State *L);
void bj_open_json(lua_State *L);
void bj_open_schema(lua_State *L);
void bj_open_csv(lua_State *L);
void bj_open_csv_check(lua_State *L);
void bj_open_file(lua_State *L);
void bj_open_directory(lua_State *L);
void bj_open_engine(lua_State *L);
void bj_open_channel(lua_State *L);
void bj_open_client(lua_State *L);
void bj_open_job(lua_State *L);
void bj_open_call(lua_State *L);
void bj_open_auth(lua_State *L);
void bj_open_terminal(lua_State *L);

#endif
