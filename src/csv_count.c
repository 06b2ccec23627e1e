#include "csv_count.h"

#include "csv.h"
#include "scan.h"

size_t csv_first_line(const char *data, size_t n, bool *quoted, bool *ended)
{
    struct scan_block blocks[SCAN_BLOCKS];
    for (size_t at = 0, looked; at < n; at += looked) {
        looked = scan_blocks(data + at, n - at, 0, blocks);
        for (size_t i = 0; i * SCAN_BYTES < looked; i++) {
            uint64_t ends = ~scan_quoted(blocks[i].quotes, quoted) & blocks[i].line_feeds;
            *ended = ends != 0;
            if (ends)
                return at + i * SCAN_BYTES + scan_first(ends) + 1;
        }
    }
    return n;
}

/* Takes the header, or what there is of it; answers how many bytes that were. */
static size_t add_header(struct csv_count *c, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char b = data[i];
        if (b == '"')
            c->quoted = !c->quoted;
        if (c->quoted)
            continue;
        if (b == '\n') {
            c->headed = true;
            return i + 1;
        }
        if (!c->delimiter && csv_delimiter_name(b))
            c->delimiter = b;
        c->header_delimiters += c->delimiter && b == c->delimiter;
    }
    return n;
}

/* Quotes stand around a whole value, so text outside of quotes is next to none. Where in the block is one all the same?
 * Answers SCAN_BYTES where all is good. `text`: bytes outside of quotes that are neither a delimiter nor a line end nor
 * a quote; `n`: bytes of the block. */
static unsigned find_bad_quote(struct csv_count *c, uint64_t quotes, uint64_t text, size_t n)
{
    uint64_t bad = (((quotes << 1) | c->after_quote) & text) | (((text << 1) | c->after_text) & quotes);
    c->after_quote = quotes >> (n - 1) & 1;
    c->after_text = text >> (n - 1) & 1;
    return bad ? scan_first(bad) : SCAN_BYTES;
}

/* Takes a block, of which `n` bytes are there. */
static void add_block(struct csv_count *c, const struct scan_block *b, size_t n)
{
    n = n < SCAN_BYTES ? n : SCAN_BYTES;
    uint64_t outside = ~scan_quoted(b->quotes, &c->quoted) & scan_below(n);
    uint64_t ends = b->line_feeds & outside;
    uint64_t text = scan_below(n) & ~ends & ~(b->returns & outside);
    unsigned bad = find_bad_quote(c, b->quotes, outside & text & ~(b->quotes | b->delimiters), n);
    unsigned long long row = c->rows + 1;
    bool ended = ends != 0;
    uint64_t before = 0;
    for (; ends; ends &= ends - 1) {
        before = scan_below(scan_first(ends));
        c->rows += c->content || text & before;
        c->content = false;
        text &= ~before;
        if (scan_first(ends) < bad)
            row = c->rows + 1;
    }
    if (ended)
        c->row_begin = c->delimiters + scan_count(b->delimiters & outside & before);
    c->delimiters += scan_count(b->delimiters & outside);
    c->content = c->content || text;
    if (bad < SCAN_BYTES && !c->bad_quote) {
        c->bad_quote = c->bytes + bad + 1;
        c->bad_row = row;
    }
    c->bytes += n;
}

void csv_count_add(struct csv_count *c, const char *data, size_t n)
{
    struct scan_block blocks[SCAN_BLOCKS];
    if (!c->headed) {
        size_t header = add_header(c, data, n);
        c->bytes += header;
        data += header;
        n -= header;
    }
    if (n)
        c->last = data[n - 1];
    while (n) {
        size_t looked = scan_blocks(data, n, c->delimiter, blocks);
        for (size_t at = 0; at < looked; at += SCAN_BYTES)
            add_block(c, &blocks[at / SCAN_BYTES], looked - at);
        data += looked;
        n -= looked;
    }
}

unsigned long long csv_count_rows(const struct csv_count *c)
{
    return c->rows + c->content;
}

bool csv_count_ends_in_row(const struct csv_count *c)
{
    bool hangs = c->delimiter && c->last == c->delimiter;
    return c->quoted || (c->content && (hangs || c->delimiters - c->row_begin != c->header_delimiters));
}

bool csv_count_is_cut(const struct csv_count *c)
{
    return csv_count_ends_in_row(c) || c->delimiters != csv_count_rows(c) * c->header_delimiters;
}
