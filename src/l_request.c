#include "l_request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Of a body that goes out in one piece with the headers. */
enum { TEXT_MAX = 16 * 1024 };

static void add_header(lua_State *L, struct transfer *t, const char *name, const char *value)
{
    if (!transfer_add_header(t, name, value))
        bj_no_memory(L);
}

static void add_token(lua_State *L, struct transfer *t, const char *token)
{
    struct buf bearer;
    buf_init(&bearer, 64 * 1024);
    bool ok = buf_add_string(&bearer, "Bearer ") && buf_add_string(&bearer, token) &&
              transfer_add_header(t, "Authorization", buf_string(&bearer));
    if (bearer.data)
        explicit_bzero(bearer.data, bearer.len);
    buf_free(&bearer);
    if (!ok)
        bj_no_memory(L);
}

static void add_headers(lua_State *L, const struct request *rq, const struct client *cl, struct transfer *t)
{
    bool csv = rq->expect == EXPECT_CSV || rq->expect == EXPECT_FILE;
    if (!rq->login)
        add_token(L, t, cl->token->text);
    add_header(L, t, "Accept", csv ? "text/csv" : "application/json");
    if (cl->settings->compress)
        add_header(L, t, "Accept-Encoding", "gzip");
    if (rq->body == BODY_NONE)
        return;
    add_header(L, t, "Expect", "");
    add_header(L, t, "Content-Type", rq->body_type);
}

static int set_source(lua_State *L, const struct request *rq, struct transfer *t)
{
    int fd;
    switch (rq->body) {
    case BODY_NONE:
        break;
    case BODY_TEXT:
        if (!rq->small || rq->len > TEXT_MAX)
            source_init_bytes(&t->source, rq->text, rq->len);
        else if (!source_init_text(&t->source, rq->text, rq->len))
            bj_no_memory(L);
        break;
    case BODY_FILE:
        fd = fcntl(rq->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return errno;
        source_init_file(&t->source, fd, rq->file, rq->first, rq->size, rq->text, rq->len);
        if (rq->digest)
            source_expect(&t->source, rq->digest);
        break;
    case BODY_QUEUE:
        if (!source_init_queue(&t->source))
            bj_no_memory(L);
        break;
    }
    return 0;
}

/* A file that was tried before is begun again. */
static int set_sink(lua_State *L, const struct request *rq, struct transfer *t)
{
    if (rq->expect == EXPECT_CSV && !sink_init_queue(&t->sink))
        bj_no_memory(L);
    if (rq->expect == EXPECT_FILE) {
        int fd = fcntl(rq->sink_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || ftruncate(fd, rq->sink_base) != 0 || lseek(fd, rq->sink_base, SEEK_SET) < 0) {
            int why = errno;
            if (fd >= 0)
                close(fd);
            return why;
        }
        sink_init_file(&t->sink, fd, rq->file, rq->skip_line);
        t->sink.counted = rq->counted;
    }
    return 0;
}

int bj_make_transfer(lua_State *L, const struct request *rq, const struct client *cl, struct transfer **slot)
{
    if (rq->login)
        lua_pushstring(L, rq->path);
    else
        lua_pushfstring(L, "%s/services/data/v%s/%s", cl->base, cl->version, rq->path);
    transfer_unref(*slot);
    *slot = transfer_new(cl->settings, rq->method, lua_tostring(L, -1));
    lua_pop(L, 1);
    struct transfer *t = *slot;
    if (!t)
        bj_no_memory(L);
    int why = set_source(L, rq, t);
    if (!why)
        why = set_sink(L, rq, t);
    if (why)
        return why;
    add_headers(L, rq, cl, t);
    t->bulk = !rq->small;
    t->fresh = rq->fresh;
    t->deadline = rq->deadline;
    return 0;
}
