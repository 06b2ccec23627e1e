#include "csv_check.h"

#include "scan.h"

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

/* So much at a time goes to the reader. */
enum { READ_BYTES = 64 * 1024 };

/* Most records are found good by a quick look at where their quotes, delimiters and line ends are. The header, and any
 * record that the quick look cannot call good, goes through the reader, which says what is wrong if something is. */
struct csv_check {
    struct csv_reader *reader;
    struct csv_facts facts;
    unsigned long long part_bytes;
    size_t columns;

    struct buf raw;          /* the bytes as they came: from the record at hand on, between two runs */
    unsigned long long base; /* bytes before them */
    size_t at;               /* in `raw`: the record at hand */
    unsigned long long line; /* that it begins in, from 1 */
    size_t summed;           /* in `raw`: the bytes before are in a checksum, or belong to no part */
    size_t enough;           /* for another quick look at the record at hand, part of which was looked at already */
    bool careful;            /* the record at hand goes through the reader */
    size_t given;            /* in `raw`: the bytes before are with the reader */
    bool finished;
    struct buf header;   /* its bytes */
    struct digest *body; /* of the part at hand */
    struct digest *all;  /* of everything; NULL: not asked for */

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
    c->line = 1;
    c->careful = true;
    buf_init(&c->raw, RAW_MAX);
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
    buf_free(&c->raw);
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

static enum csv_event no_memory(struct csv_check *c)
{
    const struct csv_row at_hand = {.line = c->line, .byte = c->base + c->at};
    return fail(c, &at_hand, 0, "not enough memory");
}

char *csv_check_space(struct csv_check *c, size_t want)
{
    char *room = c->failed ? NULL : buf_reserve(&c->raw, want);
    if (!room && !c->failed)
        no_memory(c);
    return room;
}

void csv_check_filled(struct csv_check *c, size_t n)
{
    if (c->all)
        digest_add(c->all, c->raw.data + c->raw.len, n);
    c->raw.len += n;
    c->facts.bytes += n;
}

bool csv_check_feed(struct csv_check *c, const char *data, size_t n)
{
    char *room = csv_check_space(c, n);
    if (!room)
        return false;
    memcpy(room, data, n);
    csv_check_filled(c, n);
    return true;
}

void csv_check_finish(struct csv_check *c)
{
    c->finished = true;
}

/* ---- parts ---- */

/* The bytes of the part at hand, as far as they are known to be its own, go into its checksum. */
static void add_to_sum(struct csv_check *c)
{
    size_t end = (size_t)(c->part.end - c->base);
    digest_add(c->body, c->raw.data + c->summed, end - c->summed);
    c->summed = end;
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
    add_to_sum(c);
    if (!digest_hex(c->body, c->part.digest))
        return false;
    c->parts[c->count++] = c->part;
    c->part.records = 0;
    return true;
}

/* Is the record at hand an empty line? Where there is one column, the service takes it for no record. */
static bool is_empty_line(const struct csv_check *c, size_t end)
{
    const char *record = c->raw.data + c->at;
    return record[0] == '\n' || (end - c->at == 2 && record[0] == '\r');
}

/* The record at hand is good, and ends before `end`: it belongs to the part at hand, or to a new one. */
static bool add_to_part(struct csv_check *c, size_t end)
{
    unsigned long long header = c->facts.header_end - c->facts.header_first;
    unsigned long long last = c->base + end;
    if (c->part.records && c->part_bytes && header + (last - c->part.first) > c->part_bytes && !keep_part(c))
        return false;
    if (is_empty_line(c, end)) { /* before the first record of a part it is left out */
        if (c->part.records)
            c->part.end = last;
        else
            c->summed = end;
        c->at = end;
        return true;
    }
    if (!c->part.records) {
        c->summed = c->at;
        c->part.first = c->base + c->at;
        digest_reset(c->body);
        digest_add(c->body, c->header.data, c->header.len);
    }
    c->part.end = last;
    c->part.records++;
    c->facts.records++;
    c->at = end;
    return true;
}

/* All that came is looked at, up to the record at hand. */
static enum csv_event wait_for_more(struct csv_check *c)
{
    if (c->part.records)
        add_to_sum(c);
    buf_drop(&c->raw, c->at);
    c->base += c->at;
    c->summed -= c->at;
    c->given = c->careful ? c->given - c->at : 0;
    c->at = 0;
    return CSV_MORE;
}

/* ---- the quick look ---- */

struct look {
    bool quoted;           /* the byte before is inside of quotes */
    uint64_t separator;    /* 1: it ends a value or a record */
    uint64_t closing;      /* 1: it is a closing quote, or the first of two quotes in a value */
    uint64_t returned;     /* 1: it is a carriage return */
    struct scan_utf8 utf8; /* what is before */
    size_t delimiters;     /* in the record at hand, outside of quotes */
    size_t lines;          /* line feeds in it */
};

enum verdict { GOOD, DOUBTFUL, NO_MEMORY };

/* The places in a block where something is not as it is in a record that is surely good. */
static uint64_t find_doubts(const struct csv_check *c, struct look *l, const struct scan_block *b, uint64_t inside,
                            const char *data, size_t n)
{
    uint64_t opening = b->quotes & inside;
    uint64_t closing = b->quotes & ~inside;
    uint64_t ends = b->line_feeds & ~inside;
    uint64_t returns = b->returns & ~inside;
    uint64_t separators = (b->delimiters & ~inside) | ends;
    uint64_t behind_closing = closing << 1 | l->closing;
    uint64_t behind_return = returns << 1 | l->returned;
    /* A quote opens a value at its start only, or is the second of two; and what follows one that closes is known. */
    uint64_t doubts = opening & ~(separators << 1 | l->separator | behind_closing);
    doubts |= behind_closing & ~(separators | returns | opening);
    doubts |= behind_return & ~ends;
    doubts |= c->facts.crlf ? ends & ~behind_return : returns;
    if (b->high || !scan_utf8_idle(&l->utf8))
        doubts |= scan_utf8(&l->utf8, data, n);
    l->separator = separators >> 63;
    l->closing = closing >> 63;
    l->returned = returns >> 63;
    return doubts & scan_below(n);
}

/* Looks at the block at `start` in `raw`, of which `n` bytes are there. */
static enum verdict look_at_block(struct csv_check *c, struct look *l, const struct scan_block *b, size_t start,
                                  size_t n)
{
    uint64_t inside = scan_quoted(b->quotes, &l->quoted);
    uint64_t doubts = find_doubts(c, l, b, inside, c->raw.data + start, n);
    uint64_t delimiters = b->delimiters & ~inside;
    uint64_t lines = b->line_feeds;
    uint64_t ends = lines & ~inside;
    if (doubts)
        ends &= scan_below(scan_first(doubts));
    for (; ends; ends &= ends - 1) {
        uint64_t record = scan_below(scan_first(ends) + 1);
        size_t end = start + scan_first(ends) + 1;
        /* No value and no record of so few bytes can have too many characters. */
        if (l->delimiters + scan_count(delimiters & record) + 1 != c->columns || end - c->at > FIELD_CHARACTERS)
            return DOUBTFUL;
        if (!add_to_part(c, end))
            return NO_MEMORY;
        c->line += l->lines + scan_count(lines & record);
        delimiters &= ~record;
        lines &= ~record;
        l->delimiters = l->lines = 0;
    }
    l->delimiters += scan_count(delimiters);
    l->lines += lines ? scan_count(lines) : 0;
    return doubts || start + n - c->at > FIELD_CHARACTERS ? DOUBTFUL : GOOD;
}

/* Goes from record to record up to the first that is doubtful, or not complete. */
static enum verdict look_quickly(struct csv_check *c)
{
    struct scan_block blocks[SCAN_BLOCKS];
    struct look l = {.separator = 1};
    enum verdict v = GOOD;
    if (c->raw.len - c->at < c->enough && !c->finished)
        return GOOD;
    for (size_t start = c->at; start < c->raw.len && v == GOOD;) {
        size_t end = start + scan_blocks(c->raw.data + start, c->raw.len - start, c->facts.delimiter, blocks);
        for (size_t i = 0; start < end && v == GOOD; i++) {
            size_t n = end - start < SCAN_BYTES ? end - start : SCAN_BYTES;
            v = look_at_block(c, &l, &blocks[i], start, n);
            start += n;
        }
    }
    c->enough = 2 * (c->raw.len - c->at); /* else a record that comes byte by byte is looked at as often */
    return v == GOOD && c->finished ? DOUBTFUL : v;
}

/* ---- the careful look ---- */

static void begin_careful(struct csv_check *c)
{
    c->careful = true;
    c->given = c->at;
    csv_reader_restart(c->reader, c->line, c->base + c->at);
}

/* The reader has given the record at hand. Answers where it ends in `raw`. */
static size_t end_careful(struct csv_check *c, const struct csv_row *row)
{
    size_t end = (size_t)(row->end - c->base);
    c->careful = false;
    c->enough = 0;
    for (size_t i = c->at; i < end; i++)
        c->line += c->raw.data[i] == '\n';
    return end;
}

/* The record at hand, or what is wrong with it. */
static enum csv_event read_record(struct csv_check *c, struct csv_row *row)
{
    for (;;) {
        enum csv_event e = csv_reader_next(c->reader, row);
        size_t n = c->raw.len - c->given < READ_BYTES ? c->raw.len - c->given : READ_BYTES;
        if (e != CSV_MORE)
            return e;
        if (n == 0 && !c->finished)
            return CSV_MORE;
        char *room = csv_reader_space(c->reader, n);
        if (!room)
            return CSV_FAILED;
        if (n)
            memcpy(room, c->raw.data + c->given, n);
        csv_reader_filled(c->reader, n);
        c->given += n;
        if (n == 0)
            csv_reader_finish(c->reader);
    }
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

/* Counts the characters. False: what begins at *at is no UTF-8. */
static bool count_characters(const struct csv_field *f, unsigned long long *count, size_t *at)
{
    const unsigned char *p = (const unsigned char *)f->data;
    for (*at = 0; *at < f->len;) {
        size_t n = character(p + *at, f->len - *at);
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

static const char UTF_16[] = "the data is UTF-16, and the service takes UTF-8 only";

/* What data is that is no CSV, by its first bytes; NULL: it may be CSV. */
static const char *begins_as_other(const struct csv_check *c)
{
    static const struct {
        const char *bytes, *what;
    } others[] = {
        {"\x1F\x8B", "the data is packed by gzip, and has to be unpacked first"},
        {"\xFD\x37zXZ", "the data is packed by xz, and has to be unpacked first"},
        {"\x28\xB5\x2F\xFD", "the data is packed by zstd, and has to be unpacked first"},
        {"PK\x03\x04", "the data is a zip archive, such as an .xlsx file, and no CSV"},
        {"\xD0\xCF\x11\xE0", "the data is a document of an old Office, such as an .xls file, and no CSV"},
        {"\xFF\xFE", UTF_16},
        {"\xFE\xFF", UTF_16},
    };
    const struct csv_field data = {.data = buf_string(&c->raw), .len = c->raw.len};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins_with(&data, others[i].bytes))
            return others[i].what;
    if (data.len >= 2 && memchr(data.data, 0, 2)) /* UTF-16 without a mark: the half of the first character is zero */
        return UTF_16;
    return NULL;
}

static enum csv_event check_header(struct csv_check *c, const struct csv_row *row)
{
    unsigned long long all = row->count - 1;
    const struct csv_field *first = &row->fields[0];
    if (begins_as_other(c))
        return fail(c, row, 0, "%s", begins_as_other(c));
    if (memchr(first->data, 0, first->len))
        return fail(c, row, 0, "the header holds a zero byte: the data is no text");
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
    c->columns = row->count;
    if (!buf_add(&c->header, c->raw.data + (row->byte - c->base), (size_t)(row->end - row->byte)))
        return no_memory(c);
    c->at = c->summed = end_careful(c, row);
    return CSV_ROW;
}

static enum csv_event end_check(struct csv_check *c)
{
    const struct csv_row nowhere = {.line = 1};
    if (!c->facts.header_end)
        return fail(c, &nowhere, 0, "no header: the data is empty");
    if (c->part.records && !keep_part(c))
        return no_memory(c);
    if (c->all && !digest_hex(c->all, c->facts.sha256))
        return no_memory(c);
    return CSV_END;
}

enum csv_event csv_check_run(struct csv_check *c, struct csv_row *header)
{
    struct csv_row row;
    if (c->failed)
        return CSV_FAILED;
    for (;;) {
        if (!c->careful) {
            enum verdict v = look_quickly(c);
            if (v == NO_MEMORY)
                return no_memory(c);
            if (v == GOOD)
                return wait_for_more(c);
            begin_careful(c);
        }
        switch (read_record(c, &row)) {
        case CSV_MORE:
            return wait_for_more(c);
        case CSV_FAILED:
            if (!c->facts.header_end && begins_as_other(c)) {
                const struct csv_row start = {.line = 1};
                return fail(c, &start, 0, "%s", begins_as_other(c));
            }
            return reader_failed(c);
        case CSV_END:
            return end_check(c);
        case CSV_ROW:
            break;
        }
        if (!c->facts.header_end) {
            *header = row;
            return check_header(c, &row);
        }
        if (check_record(c, &row) == CSV_FAILED)
            return CSV_FAILED;
        if (!add_to_part(c, end_careful(c, &row)))
            return no_memory(c);
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
