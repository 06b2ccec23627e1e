#include "csv_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the service: the guide, Limits and Prepare CSV Files. Characters, not bytes. */
enum {
    FIELD_CHARACTERS = 131072,
    RECORD_CHARACTERS = 400000,
    HEADER_CHARACTERS = 32000,
    FIELDS = 5000,
};

enum { FIRST_PARTS = 16, ERROR_TEXT = 240 };

/* As long as a record can be while it is not known to be too long, and a piece of text beside it. */
enum { RAW_MAX = 1 << 30 };

struct csv_check {
    struct csv_reader *reader;
    struct csv_facts facts;
    unsigned long long part_bytes;

    /* The bytes as they came, for the checksums: the reader changes its own. A part ends where its last whole record
     * does, so of what was fed those behind that wait. */
    const char *fed; /* the bytes of the last csv_check_feed */
    size_t fed_len;
    struct buf waiting;        /* bytes from before them */
    unsigned long long summed; /* bytes in all up to which they are in a checksum, or belong to no part */
    struct buf header;         /* its bytes */
    struct digest *body;       /* of the part at hand */
    struct digest *all;        /* of everything; NULL: not asked for */

    struct csv_part part; /* at hand; no records: none */
    struct csv_part *parts;
    size_t count;
    size_t room;
    bool failed;
    unsigned long long error_line;
    unsigned long long error_byte;
    size_t error_column;
    char error[ERROR_TEXT];
};

struct csv_check *csv_check_new(const struct csv_check_options *options)
{
    struct csv_options reader = {.delimiter = options->delimiter};
    struct csv_check *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->part_bytes = options->part_bytes;
    buf_init(&c->waiting, RAW_MAX);
    buf_init(&c->header, RAW_MAX);
    c->reader = csv_reader_new(&reader);
    c->body = digest_new(DIGEST_BODY);
    c->all = options->sha256 ? digest_new(DIGEST_FILE) : NULL;
    if (!c->reader || !c->body || (options->sha256 && !c->all)) {
        csv_check_free(c);
        return NULL;
    }
    return c;
}

void csv_check_free(struct csv_check *c)
{
    if (!c)
        return;
    csv_reader_free(c->reader);
    buf_free(&c->waiting);
    buf_free(&c->header);
    digest_free(c->body);
    digest_free(c->all);
    free(c->parts);
    free(c);
}

/* The reader's own words. */
static enum csv_event reader_failed(struct csv_check *c)
{
    c->failed = true;
    snprintf(c->error, sizeof c->error, "%s", csv_reader_error(c->reader));
    csv_reader_place(c->reader, &c->error_line, &c->error_byte);
    return CSV_FAILED;
}

/* A record is at fault. `column` from 1; 0: all of it. */
__attribute__((format(printf, 4, 5))) static enum csv_event fail(struct csv_check *c, const struct csv_row *row,
                                                                 size_t column, const char *format, ...)
{
    va_list args;
    c->failed = true;
    c->error_line = row->line;
    c->error_byte = row->byte + 1;
    c->error_column = column;
    int n = snprintf(c->error, sizeof c->error, "line %llu, byte %llu: ", c->error_line, c->error_byte);
    va_start(args, format);
    vsnprintf(c->error + n, sizeof c->error - (size_t)n, format, args);
    va_end(args);
    return CSV_FAILED;
}

bool csv_check_feed(struct csv_check *c, const char *data, size_t n)
{
    char *room = csv_reader_space(c->reader, n);
    if (!room) {
        reader_failed(c);
        return false;
    }
    memcpy(room, data, n);
    csv_reader_filled(c->reader, n);
    if (c->all)
        digest_add(c->all, data, n);
    c->facts.bytes += n;
    c->fed = data;
    c->fed_len = n;
    return true;
}

void csv_check_finish(struct csv_check *c)
{
    csv_reader_finish(c->reader);
}

/* ---- the bytes as they came ---- */

/* Hands the bytes from `summed` up to `end` to `use`, the older ones first, and moves `summed` there. */
static bool use_raw(struct csv_check *c, unsigned long long end, bool (*use)(struct csv_check *, const char *, size_t))
{
    size_t old = (size_t)(end - c->summed);
    size_t from_fed = 0;
    if (old > c->waiting.len) {
        from_fed = old - c->waiting.len;
        old = c->waiting.len;
    }
    bool ok = use(c, buf_string(&c->waiting), old);
    buf_drop(&c->waiting, old);
    if (from_fed) {
        ok = use(c, c->fed, from_fed) && ok;
        c->fed += from_fed;
        c->fed_len -= from_fed;
    }
    c->summed = end;
    return ok;
}

static bool add_to_sum(struct csv_check *c, const char *data, size_t n)
{
    digest_add(c->body, data, n);
    return true;
}

static bool add_to_header(struct csv_check *c, const char *data, size_t n)
{
    return buf_add(&c->header, data, n);
}

static bool skip(struct csv_check *c, const char *data, size_t n)
{
    (void)c;
    (void)data;
    (void)n;
    return true;
}

/* Everything that was fed is looked at: the whole records go into their checksum, what is left waits. */
static bool keep_rest(struct csv_check *c)
{
    if (c->part.records)
        use_raw(c, c->part.end, add_to_sum);
    bool ok = buf_add(&c->waiting, c->fed, c->fed_len);
    c->fed = NULL;
    c->fed_len = 0;
    return ok;
}

/* How many bytes the character that begins at `p` has; 0: it is none in UTF-8 (RFC 3629). */
static size_t character(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

static size_t ascii_run(const unsigned char *p, size_t len)
{
    const unsigned long long high = 0x8080808080808080ULL;
    size_t n = 0;
    for (unsigned long long eight; n + sizeof eight <= len; n += sizeof eight) {
        memcpy(&eight, p + n, sizeof eight);
        if (eight & high)
            break;
    }
    while (n < len && p[n] < 0x80)
        n++;
    return n;
}

/* Counts the characters. False: what begins at *at is no UTF-8. */
static bool count_characters(const struct csv_field *f, unsigned long long *count, size_t *at)
{
    const unsigned char *p = (const unsigned char *)f->data;
    for (*at = 0; *at < f->len;) {
        size_t n = ascii_run(p + *at, f->len - *at);
        *count += n;
        *at += n;
        if (*at == f->len)
            break;
        n = character(p + *at, f->len - *at);
        if (n == 0)
            return false;
        (*count)++;
        *at += n;
    }
    return true;
}

static enum csv_event check_record(struct csv_check *c, const struct csv_row *row)
{
    unsigned long long all = 0;
    for (size_t i = 0; i < row->count; i++) {
        unsigned long long characters = 0;
        size_t at;
        if (!count_characters(&row->fields[i], &characters, &at))
            return fail(c, row, i + 1, "not UTF-8: the byte 0x%02X in place %zu of the value of column %zu",
                        (unsigned)(unsigned char)row->fields[i].data[at], at + 1, i + 1);
        if (characters > FIELD_CHARACTERS)
            return fail(c, row, i + 1, "a value of %llu characters in column %zu, and %d are the most", characters,
                        i + 1, FIELD_CHARACTERS);
        all += characters;
    }
    if (all > RECORD_CHARACTERS)
        return fail(c, row, 0, "a record of %llu characters, and %d are the most", all, RECORD_CHARACTERS);
    if (row->ended && row->crlf != c->facts.crlf)
        return fail(c, row, 0, "this record ends with %s, and the header with %s", row->crlf ? "CR LF" : "LF",
                    c->facts.crlf ? "CR LF" : "LF");
    return CSV_ROW;
}

static bool begins_with(const struct csv_field *f, const char *text)
{
    size_t n = strlen(text);
    return f->len >= n && memcmp(f->data, text, n) == 0;
}

static int compare_fields(const void *a, const void *b)
{
    const struct csv_field *x = a;
    const struct csv_field *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* The column, from 1, whose name another has too; 0: none; -1: out of memory. */
static long find_double(const struct csv_row *row)
{
    struct csv_field *sorted = malloc(row->count * sizeof *sorted);
    long found = 0;
    if (!sorted)
        return -1;
    memcpy(sorted, row->fields, row->count * sizeof *sorted);
    qsort(sorted, row->count, sizeof *sorted, compare_fields);
    for (size_t i = 1; i < row->count && !found; i++)
        if (compare_fields(&sorted[i - 1], &sorted[i]) == 0)
            for (size_t n = 0; n < row->count; n++)
                if (row->fields[n].data == sorted[i].data || row->fields[n].data == sorted[i - 1].data)
                    found = (long)n + 1;
    free(sorted);
    return found;
}

static enum csv_event check_header(struct csv_check *c, const struct csv_row *row)
{
    unsigned long long all = row->count - 1;
    const struct csv_field *first = &row->fields[0];
    if (begins_with(first, "\xFF\xFE") || begins_with(first, "\xFE\xFF") || memchr(first->data, 0, first->len))
        return fail(c, row, 1, "the data is UTF-16, and the service takes UTF-8 only");
    if (begins_with(first, "sep="))
        return fail(c, row, 1, "a hint for a spreadsheet program (sep=), where the header is expected");
    if (row->count > FIELDS)
        return fail(c, row, 0, "%zu columns, and %d are the most", row->count, FIELDS);
    for (size_t i = 0; i < row->count; i++) {
        size_t at;
        if (row->fields[i].len == 0)
            return fail(c, row, i + 1, "the header has no name for column %zu", i + 1);
        if (!count_characters(&row->fields[i], &all, &at))
            return fail(c, row, i + 1, "not UTF-8: the byte 0x%02X in the name of column %zu",
                        (unsigned)(unsigned char)row->fields[i].data[at], i + 1);
    }
    if (all > HEADER_CHARACTERS)
        return fail(c, row, 0, "a header of %llu characters, and %d are the most", all, HEADER_CHARACTERS);
    long twice = find_double(row);
    if (twice < 0)
        return fail(c, row, 0, "not enough memory");
    if (twice)
        return fail(c, row, (size_t)twice, "column %ld has the same name as another", twice);
    c->facts.header_first = row->byte;
    c->facts.header_end = row->end;
    c->facts.delimiter = csv_reader_delimiter(c->reader);
    c->facts.crlf = row->crlf;
    use_raw(c, row->byte, skip); /* a byte order mark */
    if (!use_raw(c, row->end, add_to_header))
        return fail(c, row, 0, "not enough memory");
    return CSV_ROW;
}

static bool keep_part(struct csv_check *c)
{
    if (c->count == c->room) {
        size_t room = c->room ? c->room * 2 : FIRST_PARTS;
        struct csv_part *parts = realloc(c->parts, room * sizeof *parts);
        if (!parts)
            return false;
        c->parts = parts;
        c->room = room;
    }
    use_raw(c, c->part.end, add_to_sum);
    if (!digest_hex(c->body, c->part.digest))
        return false;
    c->parts[c->count++] = c->part;
    c->part.records = 0;
    return true;
}

static bool add_to_part(struct csv_check *c, const struct csv_row *row)
{
    unsigned long long header = c->facts.header_end - c->facts.header_first;
    if (c->part.records && c->part_bytes && header + (row->end - c->part.first) > c->part_bytes && !keep_part(c))
        return false;
    if (!c->part.records) {
        c->part.first = row->byte;
        digest_reset(c->body);
        digest_add(c->body, c->header.data, c->header.len);
    }
    c->part.end = row->end;
    c->part.records++;
    c->facts.records++;
    return true;
}

static enum csv_event no_memory(struct csv_check *c, const struct csv_row *row)
{
    return fail(c, row, 0, "not enough memory");
}

enum csv_event csv_check_run(struct csv_check *c, struct csv_row *header)
{
    struct csv_row row;
    const struct csv_row nowhere = {.line = 1};
    if (c->failed)
        return CSV_FAILED;
    for (;;) {
        switch (csv_reader_next(c->reader, &row)) {
        case CSV_MORE:
            return keep_rest(c) ? CSV_MORE : no_memory(c, &nowhere);
        case CSV_FAILED:
            return reader_failed(c);
        case CSV_END:
            if (!c->facts.header_end)
                return fail(c, &nowhere, 0, "no header: the data is empty");
            if (c->part.records && !keep_part(c))
                return no_memory(c, &nowhere);
            if (c->all && !digest_hex(c->all, c->facts.sha256))
                return no_memory(c, &nowhere);
            return CSV_END;
        case CSV_ROW:
            break;
        }
        if (!c->facts.header_end) {
            *header = row;
            return check_header(c, &row);
        }
        if (check_record(c, &row) == CSV_FAILED)
            return CSV_FAILED;
        if (!add_to_part(c, &row))
            return no_memory(c, &row);
    }
}

const struct csv_facts *csv_check_facts(const struct csv_check *c)
{
    return &c->facts;
}

const struct csv_part *csv_check_parts(const struct csv_check *c, size_t *count)
{
    *count = c->count;
    return c->parts;
}

void csv_check_drop_parts(struct csv_check *c)
{
    c->count = 0;
}

const char *csv_check_error(const struct csv_check *c, unsigned long long *line, unsigned long long *byte,
                            size_t *column)
{
    *line = c->error_line;
    *byte = c->error_byte;
    *column = c->error_column;
    return c->error;
}
