/* Looks through CSV before it is sent: everything that the service would refuse, and where to cut it into parts. */
#ifndef BULKJOB_CSV_CHECK_H
#define BULKJOB_CSV_CHECK_H

#include "csv.h"
#include "digest.h"

/* A run of whole records without the header; bytes from 0, `end` behind the last. */
struct csv_part {
    unsigned long long first;
    unsigned long long end;
    unsigned long long records;
    char digest[DIGEST_HEX + 1]; /* DIGEST_BODY of the header and these bytes: what is uploaded for it */
};

struct csv_check_options {
    char delimiter;                /* 0: found in the header */
    unsigned long long part_bytes; /* at most so many in a part and the header together; 0: one part */
    bool sha256;                   /* take the DIGEST_FILE of the whole */
};

struct csv_facts {
    unsigned long long records;      /* without the header */
    unsigned long long bytes;        /* in all */
    unsigned long long header_first; /* of its bytes, from 0: behind a byte order mark */
    unsigned long long header_end;
    char delimiter;
    bool crlf;
    char sha256[DIGEST_HEX + 1]; /* "" when it was not asked for, or before the end */
};

struct csv_check;

/* NULL: out of memory. */
struct csv_check *csv_check_new(const struct csv_check_options *options);
void csv_check_free(struct csv_check *c);

/* Room for `want` more bytes. NULL: there is none, and csv_check_error says why. */
char *csv_check_space(struct csv_check *c, size_t want);
/* `n` bytes of that room were written. */
void csv_check_filled(struct csv_check *c, size_t n);
/* Both: takes a copy of the next bytes. False: they cannot be taken. */
bool csv_check_feed(struct csv_check *c, const char *data, size_t n);
/* No more bytes come. */
void csv_check_finish(struct csv_check *c);

/* Goes as far as the bytes reach. CSV_ROW: *header are the names of the columns, until the next call. CSV_END: all is
 * good. */
enum csv_event csv_check_run(struct csv_check *c, struct csv_row *header);

const struct csv_facts *csv_check_facts(const struct csv_check *c);

/* The parts that are complete by now; they stay where they are until the next csv_check_run. */
const struct csv_part *csv_check_parts(const struct csv_check *c, size_t *count);
void csv_check_drop_parts(struct csv_check *c);

/* What failed: the text, with line and byte; both alone, from 1; and in which column, from 1 (0: in none). */
const char *csv_check_error(const struct csv_check *c, unsigned long long *line, unsigned long long *byte,
                            size_t *column);

#endif
