/* Whatever the data: cut anywhere it reads the same, and what was read can be written and read again. */
#include "../../src/csv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct csv_format format = {.delimiter = ','};

/* Reads in pieces of `step` bytes, and writes what comes. Answers whether the data was good. */
static bool copy(const char *data, size_t len, size_t step, char delimiter, struct buf *out)
{
    struct csv_options options = {.delimiter = delimiter, .max_record = 1 << 16};
    struct csv_reader *r = csv_reader_new(&options);
    size_t at = 0;
    bool good = false;
    for (;;) {
        struct csv_row row;
        enum csv_event e = csv_reader_next(r, &row);
        if (e == CSV_ROW) {
            for (size_t i = 0; i < row.count; i++)
                csv_write_field(out, &format, i == 0, row.fields[i].data, row.fields[i].len);
            csv_write_end(out, &format, row.count == 1 && row.fields[0].len == 0);
        } else if (e == CSV_MORE) {
            size_t n = len - at < step ? len - at : step;
            char *room = n ? csv_reader_space(r, n) : NULL;
            if (room) {
                memcpy(room, data + at, n);
                csv_reader_filled(r, n);
                at += n;
            } else {
                csv_reader_finish(r);
            }
        } else {
            good = e == CSV_END;
            if (!good)
                buf_add_string(out, csv_reader_error(r));
            break;
        }
    }
    csv_reader_free(r);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole;
    struct buf pieces;
    size_t step = size ? data[0] % 7 + 1 : 1;
    if (size > 1 << 15)
        return 0;
    buf_init(&whole, 1 << 20);
    buf_init(&pieces, 1 << 20);
    bool good = copy((const char *)data, size, size + 1, 0, &whole);
    bool same = copy((const char *)data, size, step, 0, &pieces) == good;
    if (!same || whole.len != pieces.len || memcmp(buf_string(&whole), buf_string(&pieces), whole.len) != 0)
        abort();
    if (good) {
        buf_clear(&pieces);
        if (!copy(buf_string(&whole), whole.len, step, ',', &pieces) || whole.len != pieces.len ||
            memcmp(buf_string(&whole), buf_string(&pieces), whole.len) != 0)
            abort();
    }
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
