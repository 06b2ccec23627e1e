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

/* Takes a block, of which `n` bytes are there. */
static void add_block(struct csv_count *c, const struct scan_block *b, size_t n)
{
    uint64_t outside = ~scan_quoted(b->quotes, &c->quoted) & scan_below(n);
    uint64_t ends = b->line_feeds & outside;
    uint64_t text = scan_below(n) & ~ends & ~(b->returns & outside);
    c->delimiters += scan_count(b->delimiters & outside);
    for (; ends; ends &= ends - 1) {
        uint64_t before = scan_below(scan_first(ends));
        c->rows += c->content || text & before;
        c->content = false;
        text &= ~before;
    }
    c->content = c->content || text;
}

void csv_count_add(struct csv_count *c, const char *data, size_t n)
{
    struct scan_block blocks[SCAN_BLOCKS];
    if (!c->headed) {
        size_t header = add_header(c, data, n);
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

bool csv_count_is_cut(const struct csv_count *c)
{
    bool hangs = c->content && c->delimiter && c->last == c->delimiter;
    return c->quoted || hangs || c->delimiters != csv_count_rows(c) * c->header_delimiters;
}
