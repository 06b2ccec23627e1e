/* The CSV that the service speaks (Bulk API 2.0 guide, Prepare CSV Files): read as it comes, one record in memory at a
 * time, and written. */
#ifndef BULKJOB_CSV_H
#define BULKJOB_CSV_H

#include "buf.h"
#include "scan.h"

#include <stdbool.h>
#include <stddef.h>

struct csv_field {
    const char *data; /* not NUL-terminated; may hold NUL bytes */
    size_t len;
};

/* Valid until the next call on its reader. */
struct csv_row {
    const struct csv_field *fields;
    size_t count;
    unsigned long long line; /* in which the record begins, from 1 */
    unsigned long long byte; /* of its first byte, from 0 */
    unsigned long long end;  /* behind its last byte, from 0 */
    bool ended;              /* it has a line end; only the last record may have none */
    bool crlf;               /* which is CR LF */
};

enum csv_event {
    CSV_MORE, /* the record at hand is not complete */
    CSV_ROW,
    CSV_END,
    CSV_FAILED,
};

struct csv_options {
    char delimiter;    /* 0: found in the first record, whose names hold none of the six */
    size_t max_record; /* bytes; 0: 16 MiB */
};

struct csv_reader;

/* NULL: out of memory. */
struct csv_reader *csv_reader_new(const struct csv_options *options);
void csv_reader_free(struct csv_reader *r);

/* Room for `want` more bytes. NULL: out of memory, or the record at hand is too long; csv_reader_error says which. */
char *csv_reader_space(struct csv_reader *r, size_t want);
/* `n` bytes of that room were written. */
void csv_reader_filled(struct csv_reader *r, size_t n);
/* No more bytes come. */
void csv_reader_finish(struct csv_reader *r);

/* Forgets the bytes that it has and what is known of the record at hand. What comes next begins a record, in this line
 * (from 1) and at this byte (from 0); the first record of all has been there. */
void csv_reader_restart(struct csv_reader *r, unsigned long long line, unsigned long long byte);

/* The next record. Every record has as many fields as the first; anything else, and anything that the service would
 * refuse, is CSV_FAILED, and so is every call after it. */
enum csv_event csv_reader_next(struct csv_reader *r, struct csv_row *row);

/* The delimiter: 0 when it is to be found and nothing has told yet. */
char csv_reader_delimiter(const struct csv_reader *r);

/* What failed, and where: "line 7, byte 312: …", bytes counted from 1 over the whole data. */
const char *csv_reader_error(const struct csv_reader *r);
/* Where it failed: line and byte, both from 1. */
void csv_reader_place(const struct csv_reader *r, unsigned long long *line, unsigned long long *byte);

struct csv_format {
    char delimiter;
    bool crlf; /* CR LF at the end of a record, else LF */
};

/* Appends a value in quotes. False: out of memory. */
bool csv_write_quoted(struct buf *out, const char *data, size_t len);

/* Does it begin with a byte order mark? At the start of a file that would be taken for no part of the value. */
bool csv_begins_with_mark(const char *data, size_t len);

/* Appends a value, after a delimiter unless it is the `first` of its record; quoted when it has to be. False: out of
 * memory. Most values are short: a call would cost as much as all the rest. */
static inline bool csv_write_field(struct buf *out, const struct csv_format *f, bool first, const char *data,
                                   size_t len)
{
    size_t before = !first;
    char *room = buf_reserve(out, before + len);
    if (!room)
        return false;
    if (before)
        *room++ = f->delimiter;
    bool quoted =
        scan_copy(room, data, len, f->delimiter) ||
        (len && (data[0] == ' ' || data[len - 1] == ' ' || (data[0] == '\xEF' && csv_begins_with_mark(data, len))));
    out->len += before + (quoted ? 0 : len); /* with quotes it is written once more */
    out->data[out->len] = '\0';
    return !quoted || csv_write_quoted(out, data, len);
}

/* Ends a record. `empty`: it consists of one empty value, which alone would look like no record at all. */
bool csv_write_end(struct buf *out, const struct csv_format *f, bool empty);

enum { CSV_NUMBER_MAX = 32 };

/* The shortest form of a finite number that reads back the same, with a point whatever the locale. Answers its length.
 */
size_t csv_format_number(char out[CSV_NUMBER_MAX], double n);

/* Reads such a form back, whatever the locale. False: it is no finite number. */
bool csv_parse_number(const char *data, size_t len, double *n);
/* The same for a whole number of at most 18 digits. */
bool csv_parse_integer(const char *data, size_t len, long long *n);

/* The service's names of the six delimiters (create_job): BACKQUOTE CARET COMMA PIPE SEMICOLON TAB. 0: no such name. */
char csv_delimiter_char(const char *name);
const char *csv_delimiter_name(char delimiter); /* NULL: it is none of them */

#endif
