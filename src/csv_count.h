/* Counts the records of CSV that passes by, and tells whether it was cut off. For results of the service, which quotes
 * every value. */
#ifndef BULKJOB_CSV_COUNT_H
#define BULKJOB_CSV_COUNT_H

#include <stdbool.h>
#include <stddef.h>

struct csv_count {
    bool headed;    /* the header is over */
    bool quoted;    /* inside quotes */
    bool content;   /* the line at hand is not empty */
    char delimiter; /* of the header; 0: none seen */
    char last;      /* the last byte */
    unsigned long long header_delimiters;
    unsigned long long delimiters; /* outside of quotes, behind the header */
    unsigned long long row_begin;  /* of these, the ones before the row at hand */
    unsigned long long rows;       /* that have a line end */
    unsigned long long bytes;      /* in all */
    bool after_quote;              /* the last byte behind the header was a quote */
    bool after_text;               /* it was text outside of quotes */
    unsigned long long
        bad_quote;              /* byte of the first quote that stands where none may, from 1, or next to it; 0: none */
    unsigned long long bad_row; /* in which row behind the header, from 1 */
};

/* How many of the next `n` bytes belong to the first line, whose names may have line ends in quotes. *quoted: false
 * before the first call, then as that left it. *ended: the line end is among them. */
size_t csv_first_line(const char *data, size_t n, bool *quoted, bool *ended);

/* Begins with all zero. */
void csv_count_add(struct csv_count *c, const char *data, size_t n);

/* Records behind the header; the last may have no line end. */
unsigned long long csv_count_rows(const struct csv_count *c);

/* Does it end in the middle of a record? */
bool csv_count_ends_in_row(const struct csv_count *c);

/* The same of a file whose records all have as many fields as the header: may something be missing, wherever that is?
 */
bool csv_count_is_cut(const struct csv_count *c);

#endif
