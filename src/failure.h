/* Why a request got no answer, in words. */
#ifndef BULKJOB_FAILURE_H
#define BULKJOB_FAILURE_H

#include "transfer.h"

/* What libcurl says. Where it quotes the URL of a proxy, with its password, it is said without. */
const char *failure_text(const struct transfer *t);

/* libcurl's code for it. When a request is cut off while it is sent, libcurl looks for a way to send it again, and its
 * code says only that there was none. */
CURLcode failure_code(const struct transfer *t);

/* What to add to such a text so that users know what to do, "" for nothing. Where there is something, trying again
 * would change nothing. */
const char *failure_hint(const char *text);

#endif
