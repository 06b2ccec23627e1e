/* From the description of a request to the transfer that carries it out. */
#ifndef BULKJOB_L_REQUEST_H
#define BULKJOB_L_REQUEST_H

#include "l_client.h"
#include "verdict.h"

enum body_kind { BODY_NONE, BODY_TEXT, BODY_FILE, BODY_QUEUE };

struct request {
    const char *method; /* static */
    const char *path;   /* below /services/data/vXX.X/; of a login, a whole URL */
    bool login;         /* the request goes to a token endpoint, without the client's token */
    enum expect expect;
    bool small; /* neither rows nor a file: it may share a connection, and is over soon */
    bool fresh; /* it never goes over a connection that was kept: the service may have closed that */
    double deadline;

    enum body_kind body;
    const char *body_type;
    const char *text; /* BODY_TEXT; BODY_FILE: what goes before the range, or NULL */
    size_t len;
    int fd;             /* BODY_FILE */
    const char *digest; /* what the checksum of the body has to be; NULL: anything */
    off_t first;
    off_t size;

    const char *file; /* of BODY_FILE or EXPECT_FILE: its path, for errors */
    int sink_fd;      /* EXPECT_FILE */
    off_t sink_base;
    bool skip_line;
    const char *header; /* EXPECT_FILE: what the first line has to be; NULL: anything */
    size_t header_len;
    bool counted; /* the rows of a page are counted on the way to the file */
};

/* Makes the transfer, with a reference in *slot, where an earlier one is given up. The texts of the request stay where
 * they are until the transfer is done or detached. Answers 0, or the errno of a file that cannot be had. Raises when
 * there is no memory. */
int bj_make_transfer(lua_State *L, const struct request *rq, const struct client *cl, struct transfer **slot);

#endif
