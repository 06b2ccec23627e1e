#include "csv.h"

#include "numeric.h"
#include "scan.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_MAX_RECORD = 16 * 1024 * 1024,
    FIRST_FIELDS = 32,
    MAX_FIELDS = 65536, /* the service takes 5,000 */
    ERROR_TEXT = 200,
};

enum state {
    FIELD_START,
    UNQUOTED,
    QUOTED,
    QUOTE_SEEN, /* in a quoted value: its end, or the first of two that stand for one */
    CR_SEEN,    /* outside quotes: LF must follow */
};

/* What a byte can mean outside quotes. */
enum class { PLAIN, DELIMITER, QUOTE, CR, LF };

/* Of 64 bytes, a bit for each. */
struct marks {
    uint64_t special;   /* those that are not plain, outside of quotes */
    uint64_t in_quotes; /* the same inside: quotes, and line feeds for the count of lines */
};

struct csv_reader {
    char *data;
    size_t cap;
    size_t start; /* of the record at hand */
    size_t end;   /* of the bytes that came */
    size_t max_record;
    bool finished;
    bool failed;
    bool begun; /* past the place where a byte order mark may stand */
    char delimiter;
    unsigned char classes[256];

    /* Of `marked_bytes` from `marked` on in `data`; as the delimiter is known. */
    struct marks marks[SCAN_BLOCKS];
    size_t marked;
    size_t marked_bytes;

    /* The record at hand; positions count from `start`. Values are unescaped in place, so `out` is never ahead of `in`.
     */
    enum state state;
    size_t in;
    size_t out;
    size_t field; /* where the value at hand begins */
    unsigned long long quote_line;
    struct csv_field *fields; /* the values before it */
    size_t count;
    size_t room;

    size_t columns;                 /* of the first record; 0: none yet */
    unsigned long long line;        /* that `in` is in */
    unsigned long long record_line; /* that the record begins in */
    unsigned long long base;        /* bytes before `start` */
    unsigned long long error_byte;
    char error[ERROR_TEXT];
};

static const struct {
    const char *name;
    char byte;
} delimiters[] = {
    {"COMMA", ','}, {"SEMICOLON", ';'}, {"TAB", '\t'}, {"PIPE", '|'}, {"CARET", '^'}, {"BACKQUOTE", '`'},
};

enum { DELIMITERS = sizeof delimiters / sizeof delimiters[0] };

static const char byte_order_mark[] = "\xEF\xBB\xBF";

char csv_delimiter_char(const char *name)
{
    for (size_t i = 0; i < DELIMITERS; i++)
        if (strcmp(delimiters[i].name, name) == 0)
            return delimiters[i].byte;
    return 0;
}

const char *csv_delimiter_name(char delimiter)
{
    for (size_t i = 0; i < DELIMITERS; i++)
        if (delimiters[i].byte == delimiter)
            return delimiters[i].name;
    return NULL;
}

/* ---- reading ---- */

struct csv_reader *csv_reader_new(const struct csv_options *options)
{
    struct csv_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->max_record = options->max_record ? options->max_record : DEFAULT_MAX_RECORD;
    r->delimiter = options->delimiter;
    r->line = r->record_line = 1;
    r->classes['"'] = QUOTE;
    r->classes['\r'] = CR;
    r->classes['\n'] = LF;
    if (r->delimiter) {
        r->classes[(unsigned char)r->delimiter] = DELIMITER;
    } else {
        for (size_t i = 0; i < DELIMITERS; i++)
            r->classes[(unsigned char)delimiters[i].byte] = DELIMITER;
    }
    return r;
}

void csv_reader_free(struct csv_reader *r)
{
    if (!r)
        return;
    free(r->data);
    free(r->fields);
    free(r);
}

__attribute__((format(printf, 2, 3))) static enum csv_event fail(struct csv_reader *r, const char *format, ...)
{
    va_list args;
    r->failed = true;
    r->error_byte = r->base + r->in + 1;
    int n = snprintf(r->error, sizeof r->error, "line %llu, byte %llu: ", r->line, r->error_byte);
    va_start(args, format);
    vsnprintf(r->error + n, sizeof r->error - (size_t)n, format, args);
    va_end(args);
    return CSV_FAILED;
}

char csv_reader_delimiter(const struct csv_reader *r)
{
    return r->delimiter;
}

const char *csv_reader_error(const struct csv_reader *r)
{
    return r->error;
}

void csv_reader_place(const struct csv_reader *r, unsigned long long *line, unsigned long long *byte)
{
    *line = r->line;
    *byte = r->error_byte;
}

static enum csv_event too_long(struct csv_reader *r)
{
    return fail(r, "a record longer than %zu bytes (it begins in line %llu)", r->max_record, r->record_line);
}

/* Moves the record at hand to the start of `data`, the memory that it is in or another, and gives up what is before it.
 */
static void move_record(struct csv_reader *r, char *data)
{
    size_t kept = r->end - r->start;
    if (kept) { /* else there may be no memory yet */
        const char *record = r->data + r->start;
        for (size_t i = 0; i < r->count; i++)
            r->fields[i].data = data + (r->fields[i].data - record);
        memmove(data, record, kept);
    }
    if (data != r->data)
        free(r->data);
    r->data = data;
    r->start = r->marked_bytes = 0;
    r->end = kept;
}

char *csv_reader_space(struct csv_reader *r, size_t want)
{
    size_t kept = r->end - r->start;
    if (kept > r->max_record) {
        too_long(r);
        return NULL;
    }
    if (!want)
        want = 1; /* the answer is not NULL, which stands for an error */
    if (r->cap - r->end >= want)
        return r->data + r->end;
    char *data = r->data;
    if (r->cap - kept < want) {
        size_t cap = r->cap * 2 > kept + want ? r->cap * 2 : kept + want;
        data = malloc(cap);
        if (!data) {
            fail(r, "not enough memory");
            return NULL;
        }
        r->cap = cap;
    }
    move_record(r, data);
    return r->data + r->end;
}

void csv_reader_filled(struct csv_reader *r, size_t n)
{
    r->end += n;
}

void csv_reader_finish(struct csv_reader *r)
{
    r->finished = true;
}

static void begin_record(struct csv_reader *r)
{
    r->in = r->out = r->field = r->count = 0;
    r->record_line = r->line;
}

void csv_reader_restart(struct csv_reader *r, unsigned long long line, unsigned long long byte)
{
    r->start = r->end = r->marked_bytes = 0;
    r->state = FIELD_START;
    r->line = line;
    r->base = byte;
    begin_record(r);
}

static bool more_fields(struct csv_reader *r)
{
    size_t room = r->room ? r->room * 2 : FIRST_FIELDS;
    if (r->count >= MAX_FIELDS)
        return false;
    struct csv_field *fields = realloc(r->fields, room * sizeof *fields);
    if (!fields)
        return false;
    r->fields = fields;
    r->room = room;
    return true;
}

/* The value at hand is complete. */
static bool end_field(struct csv_reader *r)
{
    if (r->count == r->room && !more_fields(r)) {
        fail(r, r->count >= MAX_FIELDS ? "too many fields in a record" : "not enough memory");
        return false;
    }
    r->fields[r->count].data = r->data + r->start + r->field;
    r->fields[r->count].len = r->out - r->field;
    r->count++;
    r->field = r->out = r->in;
    r->state = FIELD_START;
    return true;
}

/* The first delimiter outside quotes in the first record is the delimiter. */
static void settle_delimiter(struct csv_reader *r, char c)
{
    r->delimiter = c;
    r->marked_bytes = 0;
    for (size_t i = 0; i < DELIMITERS; i++)
        if (delimiters[i].byte != c)
            r->classes[(unsigned char)delimiters[i].byte] = PLAIN;
}

/* Hands out the record that ended at `in`; `ended` by a line end, or by the end of the data. */
static enum csv_event end_record(struct csv_reader *r, struct csv_row *row, bool ended)
{
    row->ended = ended;
    row->crlf = r->state == CR_SEEN;
    if (!end_field(r))
        return CSV_FAILED;
    if (r->in > r->max_record)
        return too_long(r);
    if (r->columns && r->count != r->columns) {
        r->line = r->record_line;
        r->in = 0;
        if (r->count == 1 && r->fields[0].len == 0)
            return fail(r, "an empty line");
        return fail(r, "%zu field%s in this record, and %zu in the first", r->count, r->count == 1 ? "" : "s",
                    r->columns);
    }
    if (!r->columns && !r->delimiter)
        settle_delimiter(r, ',');
    r->columns = r->count;
    row->fields = r->fields;
    row->count = r->count;
    row->line = r->record_line;
    row->byte = r->base;
    row->end = r->base + r->in;
    r->base += r->in;
    r->start += r->in;
    begin_record(r);
    return CSV_ROW;
}

/* Moves `n` bytes from `in` to `out`. */
static void keep(struct csv_reader *r, size_t n)
{
    char *record = r->data + r->start;
    if (r->in != r->out)
        memmove(record + r->out, record + r->in, n);
    r->in += n;
    r->out += n;
}

static void mark(struct csv_reader *r, size_t at)
{
    struct scan_block blocks[SCAN_BLOCKS];
    size_t looked = scan_blocks(r->data + at, r->end - at, r->delimiter, blocks);
    for (size_t i = 0; i * SCAN_BYTES < looked; i++) {
        r->marks[i].in_quotes = blocks[i].quotes | blocks[i].line_feeds;
        r->marks[i].special = r->marks[i].in_quotes | blocks[i].delimiters | blocks[i].returns;
    }
    r->marked = at;
    r->marked_bytes = looked;
}

/* Those of them that are in the block of the byte at `at`, which was looked at, and not before it: the lowest is that
 * byte. */
static inline uint64_t special_bits(const struct csv_reader *r, size_t at, bool quoted)
{
    size_t i = at - r->marked;
    const struct marks *m = &r->marks[i / SCAN_BYTES];
    return (quoted ? m->in_quotes : m->special) >> i % SCAN_BYTES;
}

/* Was it? Not if it is before `marked`, where the difference wraps around. */
static inline bool is_marked(const struct csv_reader *r, size_t at)
{
    return at - r->marked < r->marked_bytes;
}

static size_t find_special_further(struct csv_reader *r, size_t at, bool quoted)
{
    while (at < r->end) {
        if (!is_marked(r, at))
            mark(r, at);
        uint64_t bits = special_bits(r, at, quoted);
        if (bits)
            return at + scan_first(bits);
        at += SCAN_BYTES - (at - r->marked) % SCAN_BYTES;
    }
    return r->end;
}

/* The place of the next byte at or behind `at` that is special, in quotes or outside; r->end when there is none. Both
 * count from the start of `data`. Most of the time it is in the same block. */
static inline size_t find_special(struct csv_reader *r, size_t at, bool quoted)
{
    uint64_t bits = is_marked(r, at) ? special_bits(r, at, quoted) : 0;
    return bits ? at + scan_first(bits) : find_special_further(r, at, quoted);
}

/* Inside quotes: all up to the next quote is value. */
static void take_quoted(struct csv_reader *r)
{
    size_t at = r->start + r->in;
    size_t stop = find_special(r, at, true);
    keep(r, stop - at);
    if (stop == r->end)
        return;
    if (r->data[stop] == '\n') {
        r->line++;
        keep(r, 1);
    } else {
        r->in++;
        r->state = QUOTE_SEEN;
    }
}

static void take_unquoted(struct csv_reader *r)
{
    size_t at = r->start + r->in;
    size_t stop = at;
    if (r->delimiter)
        stop = find_special(r, at, false);
    else
        while (stop < r->end && r->classes[(unsigned char)r->data[stop]] == PLAIN)
            stop++;
    keep(r, stop - at);
}

/* Where a value begins: takes all that have no quotes, or quotes around them and none within, and a delimiter behind
 * them. What is anything else is left to the states. */
static void take_simple(struct csv_reader *r)
{
    const char *data = r->data;
    const char delimiter = r->delimiter;
    size_t at = r->start + r->in;
    size_t count = r->count;
    for (; at < r->end && count < r->room; count++) {
        size_t quoted = data[at] == '"';
        size_t from = at + quoted;
        size_t stop = quoted ? find_special(r, from, true) : find_special(r, from, false);
        size_t behind = stop + quoted;
        if (behind >= r->end || data[behind] != delimiter || (quoted && data[stop] != '"'))
            break;
        r->fields[count].data = data + from;
        r->fields[count].len = stop - from;
        at = behind + 1;
    }
    r->count = count;
    r->field = r->out = r->in = at - r->start;
}

/* Outside quotes, at a byte that is not plain. Answers CSV_MORE to go on, CSV_ROW when the record is complete. */
static enum csv_event take_special(struct csv_reader *r, char c)
{
    switch ((enum class)r->classes[(unsigned char)c]) {
    case DELIMITER:
        if (!r->delimiter)
            settle_delimiter(r, c);
        r->in++;
        return end_field(r) ? CSV_MORE : CSV_FAILED;
    case LF:
        r->in++;
        r->line++;
        return CSV_ROW;
    case CR:
        r->in++;
        r->state = CR_SEEN;
        return CSV_MORE;
    case QUOTE:
        if (r->state == UNQUOTED)
            return fail(r, "a quote in a value that does not begin with one");
        r->in++;
        r->field = r->out = r->in;
        r->quote_line = r->line;
        r->state = QUOTED;
        return CSV_MORE;
    case PLAIN:
        break;
    }
    return fail(r, "more text after a closing quote");
}

static enum csv_event take_byte(struct csv_reader *r)
{
    char c = r->data[r->start + r->in];
    switch (r->state) {
    case FIELD_START:
        if (r->classes[(unsigned char)c] == PLAIN) {
            r->state = UNQUOTED;
            take_unquoted(r);
            return CSV_MORE;
        }
        return take_special(r, c);
    case UNQUOTED:
        if (r->classes[(unsigned char)c] == PLAIN) {
            take_unquoted(r);
            return CSV_MORE;
        }
        return take_special(r, c);
    case QUOTED:
        take_quoted(r);
        return CSV_MORE;
    case QUOTE_SEEN:
        if (c == '"') {
            keep(r, 1);
            r->state = QUOTED;
            return CSV_MORE;
        }
        return take_special(r, c);
    case CR_SEEN:
        break;
    }
    if (c != '\n')
        return fail(r, "a carriage return without a line feed behind it");
    return take_special(r, c);
}

/* True when enough has come to know whether the data begins with a byte order mark, which is then skipped. */
static bool skip_mark(struct csv_reader *r)
{
    size_t n = r->end - r->start < 3 ? r->end - r->start : 3;
    if (n < 3 && !r->finished && memcmp(r->data + r->start, byte_order_mark, n) == 0)
        return false;
    r->begun = true;
    if (n == 3 && memcmp(r->data + r->start, byte_order_mark, 3) == 0) {
        r->start += 3;
        r->base += 3;
    }
    return true;
}

/* All bytes are used up. */
static enum csv_event at_end(struct csv_reader *r, struct csv_row *row)
{
    if (!r->finished)
        return CSV_MORE;
    switch (r->state) {
    case QUOTED:
        return fail(r, "the data ends inside a quoted value (opened in line %llu)", r->quote_line);
    case CR_SEEN:
        return fail(r, "the data ends with a carriage return and no line feed");
    case FIELD_START:
        if (r->in == 0)
            return CSV_END;
        break;
    case UNQUOTED:
    case QUOTE_SEEN:
        break;
    }
    return end_record(r, row, false);
}

/* Where there is one column, an empty line is no record: an empty value has quotes. */
static bool is_empty_line(const struct csv_reader *r)
{
    char first = r->data[r->start];
    return r->columns == 1 && (first == '\n' || (first == '\r' && r->in == 2));
}

enum csv_event csv_reader_next(struct csv_reader *r, struct csv_row *row)
{
    if (r->failed)
        return CSV_FAILED;
    if (!r->begun && (r->end > r->start || r->finished) && !skip_mark(r))
        return CSV_MORE;
    while (r->start + r->in < r->end) {
        if (r->state == FIELD_START && r->delimiter) {
            take_simple(r);
            if (r->start + r->in == r->end)
                break;
        }
        enum csv_event e = take_byte(r);
        if (e == CSV_ROW && is_empty_line(r)) {
            r->base += r->in;
            r->start += r->in;
            r->state = FIELD_START;
            begin_record(r);
        } else if (e == CSV_ROW) {
            return end_record(r, row, true);
        }
        if (e == CSV_FAILED)
            return e;
    }
    return at_end(r, row);
}

/* ---- writing ---- */

bool csv_begins_with_mark(const char *data, size_t len)
{
    size_t n = sizeof byte_order_mark - 1;
    return len >= n && memcmp(data, byte_order_mark, n) == 0;
}

bool csv_write_quoted(struct buf *out, const char *data, size_t len)
{
    const char *end = data + len;
    char *room = buf_reserve(out, 2 * len + 2); /* for the worst: it consists of quotes */
    if (!room)
        return false;
    *room++ = '"';
    while (data < end) {
        const char *quote = memchr(data, '"', (size_t)(end - data));
        size_t n = (size_t)((quote ? quote + 1 : end) - data);
        memcpy(room, data, n);
        room += n;
        data += n;
        if (quote)
            *room++ = '"';
    }
    *room++ = '"';
    *room = '\0';
    out->len = (size_t)(room - out->data);
    return true;
}

bool csv_write_end(struct buf *out, const struct csv_format *f, bool empty)
{
    return (!empty || buf_add_string(out, "\"\"")) && (!f->crlf || buf_add_char(out, '\r')) && buf_add_char(out, '\n');
}

size_t csv_format_number(char out[CSV_NUMBER_MAX], double n)
{
    /* Whole numbers that a double holds exactly need no exponent. 15 digits that read back the same are the shortest
     * form with trailing zeros gone; only the smallest numbers of all have fewer digits to begin with. */
    int len = 0;
    if (fabs(n) <= 9007199254740992.0 && n == floor(n))
        return (size_t)snprintf(out, CSV_NUMBER_MAX, "%.0f", n);
    locale_t before = numeric_enter();
    for (int digits = fabs(n) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        len = snprintf(out, CSV_NUMBER_MAX, "%.*g", digits, n);
        if (strtod(out, NULL) == n)
            break;
    }
    numeric_leave(before);
    return (size_t)len;
}

bool csv_parse_integer(const char *data, size_t len, long long *n)
{
    bool negative = len && data[0] == '-';
    size_t i = negative;
    if (i == len || len - i > 18)
        return false;
    for (*n = 0; i < len; i++) {
        if (data[i] < '0' || data[i] > '9')
            return false;
        *n = *n * 10 + (data[i] - '0');
    }
    *n = negative ? -*n : *n;
    return true;
}

bool csv_parse_number(const char *data, size_t len, double *n)
{
    char text[64];
    char *end;
    if (!len || len >= sizeof text)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!data[i] || !strchr("0123456789.+-eE", data[i]))
            return false;
        text[i] = data[i];
    }
    text[len] = '\0';
    locale_t before = numeric_enter();
    *n = strtod(text, &end);
    numeric_leave(before);
    return *end == '\0' && isfinite(*n);
}
