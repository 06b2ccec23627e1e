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

/* Does it end in a row? Other rows may have as many fields as they will. In pieces of any size. */
static void test_ends(void)
{
    static const struct {
        const char *text;
        bool in_row;
    } cases[] = {
        {"\"a\",\"b\"\n\"1\"\n\"2\",\"3\",\"4\"\n\"5\",\"6\"\n", false},
        {"\"a\",\"b\"\n\"1\"\n\"5\",\"6\"", false},
        {"\"a\",\"b\"\n\"1\"\n", false},
        {"\"a\",\"b\"\n", false},
        {"\"a\",\"b\"", false},
        {"", false},
        {"\"a\",\"b\"\n\"1\"", true},
        {"\"a\",\"b\"\n\"1\",\"2\",\"3\"", true},
        {"\"a\",\"b\"\n\"1\",\"2\",\"3\"\n\"4\"", true},
        {"\"a\",\"b\"\n\"1\",", true},
        {"\"a\",\"b\"\n\"1\",\"2\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = strlen(cases[i].text);
        for (size_t step = 1; step <= len + 1; step++) {
            struct csv_count c = count(cases[i].text, len, step);
            check_one(csv_count_ends_in_row(&c) == cases[i].in_row, cases[i].text, __FILE__, __LINE__);
        }
    }
}

/* Where a quote stands where none may, in pieces of any size: in which byte, and in which row. */
static void test_quotes(void)
{
    static const struct {
        const char *text;
        unsigned long long byte;
        unsigned long long row;
    } cases[] = {
        {"\"a\",\"b\"\n\"1\",\"2\"\n", 0, 0},
        {"a,b\n1,2\n,\n", 0, 0},
        {"\"a\",\"b\"\r\n\"\"\"1\"\"\",\"\"\"\"\r\n\"\",\"x\ny\"\r\n", 0, 0},
        {"\"a\"\n\"1\"x\"\n", 8, 1},
        {"\"a\"\n\n\"1\"\nx\"2\"\n", 11, 2},
        {"a,b\n1,2\n3,\"4\"5\n", 14, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= strlen(cases[i].text); step++) {
            struct csv_count c = count(cases[i].text, strlen(cases[i].text), step);
            CHECK(c.bad_quote == cases[i].byte && c.bad_row == cases[i].row);
        }
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

/* The first line has this many bytes, in pieces of any size. */
static void first_line_is(const char *text, size_t expected, bool complete)
{
    size_t len = strlen(text);
    for (size_t step = 1; step <= len + 1; step++) {
        bool quoted = false;
        bool ended = false;
        size_t line = 0;
        for (size_t at = 0; at < len && !ended; at += step)
            line += csv_first_line(text + at, len - at < step ? len - at : step, &quoted, &ended);
        check_one(line == expected && ended == complete, text, __FILE__, __LINE__);
    }
}

static void test_first_line(void)
{
    first_line_is("", 0, false);
    first_line_is("a,b", 3, false);
    first_line_is("a,b\n1,2\n", 4, true);
    first_line_is("a,\"b\n\"\"c\n\"\n1,2\n", 11, true);
    first_line_is("\"a\n", 3, false);
    first_line_is("a name of more bytes than there are in a block of the scanner, and a bit longer\n1\n", 80, true);
}

int main(void)
{
    test_rows();
    test_cuts();
    test_ends();
    test_quotes();
    test_every_prefix();
    test_first_line();
    return check_result();
}
