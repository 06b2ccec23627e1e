#include "csv_count.h"

#include "csv.h"

#include <string.h>

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

void csv_count_add(struct csv_count *c, const char *data, size_t n)
{
    if (!c->headed) {
        size_t header = add_header(c, data, n);
        data += header;
        n -= header;
    }
    if (n)
        c->last = data[n - 1];
    for (const char *end = data + n; data < end;) {
        if (c->quoted) {
            data = memchr(data, '"', (size_t)(end - data)); /* most bytes are inside quotes */
            if (!data)
                return;
            data++;
            c->quoted = false;
            continue;
        }
        char b = *data++;
        if (b == '\n') {
            c->rows += c->content;
            c->content = false;
        } else if (b != '\r') {
            c->content = true;
            c->quoted = b == '"';
            c->delimiters += c->delimiter && b == c->delimiter;
        }
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
