/* Whatever the data: the check says of it what the reader, record after record, and the simplest look at their bytes
 * say; and it says the same however the data is cut. */
#include "../../src/csv_check.h"
#include "scan_reference.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is said: records and parts, or the error. */
struct words {
    char text[512];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->text + w->len, sizeof w->text - w->len, format, args);
    va_end(args);
    w->len += (size_t)n < sizeof w->text - w->len ? (size_t)n : sizeof w->text - w->len - 1;
}

static void check(const char *data, size_t len, size_t step, unsigned long long part_bytes, struct words *w)
{
    struct csv_check_options options = {.part_bytes = part_bytes};
    struct csv_check *c = csv_check_new(&options);
    struct csv_row header;
    enum csv_event e = CSV_MORE;
    for (size_t at = 0; e == CSV_MORE;) {
        size_t n = len - at < step ? len - at : step;
        if (n && !csv_check_feed(c, data + at, n))
            abort();
        if (n == 0)
            csv_check_finish(c);
        at += n;
        while ((e = csv_check_run(c, &header)) == CSV_ROW) {
        }
        size_t count;
        const struct csv_part *p = csv_check_parts(c, &count);
        for (size_t i = 0; i < count; i++)
            say(w, "%llu-%llu %llu %.8s,", p[i].first, p[i].end, p[i].records, p[i].digest);
        csv_check_drop_parts(c);
    }
    if (e == CSV_END) {
        say(w, "good, %llu records", csv_check_facts(c)->records);
    } else {
        unsigned long long line;
        unsigned long long byte;
        size_t column;
        const char *text = csv_check_error(c, &line, &byte, &column);
        w->len = 0; /* how many parts were done depends on the cut */
        say(w, "%s (%llu, %llu, %zu)", text, line, byte, column);
    }
    csv_check_free(c);
}

/* How many records behind the header are good, and is that all of them? Only text that is short enough. */
static bool expect(const char *data, size_t len, unsigned long long *records)
{
    struct csv_options options = {0};
    struct csv_reader *r = csv_reader_new(&options);
    struct csv_row row;
    enum csv_event e;
    bool good = true;
    bool crlf = false;
    unsigned long long rows = 0;
    memcpy(csv_reader_space(r, len), data, len);
    csv_reader_filled(r, len);
    csv_reader_finish(r);
    while (good && (e = csv_reader_next(r, &row)) == CSV_ROW) {
        if (rows == 0)
            crlf = row.crlf;
        else
            good = !row.ended || row.crlf == crlf;
        for (size_t i = 0; i < row.count; i++)
            good = good &&
                   reference_bad((const unsigned char *)row.fields[i].data, row.fields[i].len) == row.fields[i].len &&
                   !reference_is_cut((const unsigned char *)row.fields[i].data, row.fields[i].len);
        rows += good;
    }
    csv_reader_free(r);
    *records = rows ? rows - 1 : 0;
    return good && e == CSV_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char header[] = "one,two\n";
    struct words whole = {.len = 0};
    struct words pieces = {.len = 0};
    unsigned long long records;
    size_t step = size ? data[0] % 96 + 1 : 1;
    unsigned long long part_bytes = size > 1 ? data[1] : 0;
    if (size > 4096)
        return 0;
    /* A header that is good, so that it is not all about headers. */
    size_t len = sizeof header - 1 + size;
    char *text = malloc(len);
    memcpy(text, header, sizeof header - 1);
    if (size)
        memcpy(text + sizeof header - 1, data, size);
    check(text, len, len, part_bytes, &whole);
    check(text, len, step, part_bytes, &pieces);
    if (strcmp(whole.text, pieces.text) != 0)
        abort();
    whole.len = 0;
    check(text, len, len, 0, &whole);
    bool good = expect(text, len, &records);
    pieces.len = 0;
    say(&pieces, "good, %llu records", records);
    if (good != (strstr(whole.text, pieces.text) != NULL))
        abort();
    free(text);
    return 0;
}
