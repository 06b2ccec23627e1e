#include "../../src/csv_count.h"

#include "check.h"

#include <string.h>

static struct csv_count count(const char *text, size_t len, size_t step)
{
    struct csv_count c = {0};
    for (size_t at = 0; at < len; at += step)
        csv_count_add(&c, text + at, len - at < step ? len - at : step);
    return c;
}

/* So many rows, cut off or not, in pieces of any size. */
static void counts_n(const char *text, size_t len, unsigned long long rows, bool cut, int line)
{
    for (size_t step = 1; step <= len + 1; step++) {
        struct csv_count c = count(text, len, step);
        check_one(csv_count_rows(&c) == rows && csv_count_is_cut(&c) == cut, text, __FILE__, line);
    }
}

#define COUNTS(text, rows, cut) counts_n(text, sizeof(text) - 1, rows, cut, __LINE__)

static void test_rows(void)
{
    COUNTS("", 0, false);
    COUNTS("\"a\"", 0, false);
    COUNTS("\"a\"\n", 0, false);
    COUNTS("\"a\",\"b\"\n\"1\",\"2\"\n", 1, false);
    COUNTS("\"a\",\"b\"\n\"1\",\"2\"\n\"3\",\"4\"", 2, false);
    COUNTS("\"a\",\"b\"\r\n\"1\",\"2\"\r\n\"3\",\"4\"\r\n", 2, false);
    COUNTS("\"a\"|\"b\"\n\"1,\n;\"|\"\"\"2\n\"\"\"\n", 1, false);
    COUNTS("\"a\"\n\"\"\n\"\"\n", 2, false);
    COUNTS("\"a\"\n\n\r\n\"1\"\n\n", 1, false);
    COUNTS("\"a\",\"b\"\n\"\0\n\",\"\0\"\n", 1, false);
    COUNTS("a,b\n1,2\n3,4\n", 2, false);
}

static void test_cuts(void)
{
    COUNTS("\"a\",\"b\"\n\"1", 1, true);
    COUNTS("\"a\",\"b\"\n\"1\"", 1, true);
    COUNTS("\"a\",\"b\"\n\"1\",", 1, true);
    COUNTS("\"a\",\"b\"\n\"1\",\"", 1, true);
    COUNTS("\"a\",\"b\"\n\"1\",\"2\n", 1, true);
    COUNTS("\"a\",\"b\"\n\"1\",\"2\"\n\"3\",\"\"\"", 2, true);
}

/* Wherever quoted CSV is cut, rows and cut together tell that something is missing, or nothing is. */
static void test_every_prefix(void)
{
    static const char text[] = "\"a\",\"b\"\n\"1\",\"x\ny\"\n\"2\",\"\"\"\"\n\"3\",\"\"\n";
    static const unsigned long long rows = 3;
    size_t len = sizeof text - 1;
    for (size_t n = 0; n < len - 1; n++) { /* but the last line end */
        struct csv_count c = count(text, n, n + 1);
        CHECK(csv_count_rows(&c) < rows || csv_count_is_cut(&c));
    }
    struct csv_count c = count(text, len - 1, len);
    CHECK(csv_count_rows(&c) == rows && !csv_count_is_cut(&c));
}

int main(void)
{
    test_rows();
    test_cuts();
    test_every_prefix();
    return check_result();
}
