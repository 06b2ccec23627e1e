#include "../../src/csv.h"

#include "check.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a reader makes of the data, as one text: values in [], a line for each record, then END or the error. */
static void render(const char *data, size_t len, size_t step, char delimiter, struct buf *out)
{
    struct csv_options options = {.delimiter = delimiter};
    struct csv_reader *r = csv_reader_new(&options);
    size_t at = 0;
    buf_clear(out);
    for (;;) {
        struct csv_row row;
        enum csv_event e = csv_reader_next(r, &row);
        if (e == CSV_ROW) {
            char place[64];
            snprintf(place, sizeof place, "%llu/%llu ", row.line, row.byte);
            buf_add_string(out, place);
            for (size_t i = 0; i < row.count; i++) {
                buf_add_char(out, '[');
                buf_add(out, row.fields[i].data, row.fields[i].len);
                buf_add_char(out, ']');
            }
            buf_add_char(out, '\n');
        } else if (e == CSV_MORE) {
            size_t n = len - at < step ? len - at : step;
            if (n == 0) {
                csv_reader_finish(r);
                continue;
            }
            memcpy(csv_reader_space(r, n), data + at, n);
            csv_reader_filled(r, n);
            at += n;
        } else {
            buf_add_string(out, e == CSV_END ? "END" : csv_reader_error(r));
            break;
        }
    }
    csv_reader_free(r);
}

/* Reads as expected, in one piece and cut at every byte. */
static void reads_n(const char *data, size_t len, const char *expected, size_t expected_len, int line)
{
    struct buf whole;
    buf_init(&whole, 1 << 20);
    for (size_t step = 1; step <= len + 1; step++) {
        render(data, len, step, 0, &whole);
        int ok = whole.len == expected_len && memcmp(whole.data, expected, expected_len) == 0;
        check_one(ok, buf_string(&whole), __FILE__, line);
        if (!ok)
            break;
    }
    buf_free(&whole);
}

#define READS(data, expected) reads_n(data, sizeof data - 1, expected, sizeof expected - 1, __LINE__)

static void test_rows(void)
{
    READS("", "END");
    READS("a\n", "1/0 [a]\nEND");
    READS("a", "1/0 [a]\nEND");
    READS("a,b\n1,2\n", "1/0 [a][b]\n2/4 [1][2]\nEND");
    READS("a,b\r\n1,2\r\n", "1/0 [a][b]\n2/5 [1][2]\nEND");
    READS("a,b\r\n1,2\n3,4", "1/0 [a][b]\n2/5 [1][2]\n3/9 [3][4]\nEND");
    READS("a,b\n,\n", "1/0 [a][b]\n2/4 [][]\nEND");
    READS("a,b\n1,", "1/0 [a][b]\n2/4 [1][]\nEND");
    READS("a\n\nx\n", "1/0 [a]\n3/3 [x]\nEND");
    READS("a\r\n\r\n\"\"\r\n\r\n\r\n", "1/0 [a]\n3/5 []\nEND");
    READS("a\n\"\"\n", "1/0 [a]\n2/2 []\nEND");
    READS("\"a\",\"b\"\n\"1\",\"2\"\n", "1/0 [a][b]\n2/8 [1][2]\nEND");
    READS("a,b\n\"x\"\"y\",\"\"\"\"\n", "1/0 [a][b]\n2/4 [x\"y][\"]\nEND");
    READS("a,b\n\"1\n2\",\"3\r\n4\"\nx,y\n", "1/0 [a][b]\n2/4 [1\n2][3\r\n4]\n5/17 [x][y]\nEND");
    READS("a,b\n\"1,2\",3\n", "1/0 [a][b]\n2/4 [1,2][3]\nEND");
    READS("a,b\n 1 , 2\n", "1/0 [a][b]\n2/4 [ 1 ][ 2]\nEND");
    READS("a\0b,c\n\0,\"\0\"\n", "1/0 [a\0b][c]\n2/6 [\0][\0]\nEND");
    READS("\xEF\xBB\xBF\"a\",b\n1,2\n", "1/3 [a][b]\n2/9 [1][2]\nEND");
    READS("\xEF\xBB\xBF", "END");
    READS("\xEF\xBB\xBF\xEF\xBB\xBF", "1/3 [\xEF\xBB\xBF]\nEND");
    READS("\xEF\xBB", "1/0 [\xEF\xBB]\nEND");
    READS("caf\xC3\xA9;\xF0\x9F\x8E\x89\n1;2\n", "1/0 [caf\xC3\xA9][\xF0\x9F\x8E\x89]\n2/11 [1][2]\nEND");
}

static void test_delimiters(void)
{
    READS("a;b\n1,5;2\n", "1/0 [a][b]\n2/4 [1,5][2]\nEND");
    READS("a\tb\n1|2\t^`\n", "1/0 [a][b]\n2/4 [1|2][^`]\nEND");
    READS("a|b\n1|2\n", "1/0 [a][b]\n2/4 [1][2]\nEND");
    READS("a^b\n1^2\n", "1/0 [a][b]\n2/4 [1][2]\nEND");
    READS("a`b\n1`2\n", "1/0 [a][b]\n2/4 [1][2]\nEND");
    READS("\"a,b\";c\n1;2\n", "1/0 [a,b][c]\n2/8 [1][2]\nEND");
    READS("only\na;b\n", "1/0 [only]\n2/5 [a;b]\nEND");
    CHECK(csv_delimiter_char("COMMA") == ',' && csv_delimiter_char("TAB") == '\t' && csv_delimiter_char("PIPE") == '|');
    CHECK(csv_delimiter_char("CARET") == '^' && csv_delimiter_char("BACKQUOTE") == '`');
    CHECK(csv_delimiter_char("SEMICOLON") == ';' && csv_delimiter_char("comma") == 0 && csv_delimiter_char("") == 0);
    struct buf out;
    buf_init(&out, 1000);
    render("a,b;c\n", 6, 6, ';', &out);
    CHECK(strcmp(buf_string(&out), "1/0 [a,b][c]\nEND") == 0);
    buf_free(&out);
}

static void test_faults(void)
{
    READS("a,b\n1\n", "1/0 [a][b]\nline 2, byte 5: 1 field in this record, and 2 in the first");
    READS("a,b\n1,2,3\n", "1/0 [a][b]\nline 2, byte 5: 3 fields in this record, and 2 in the first");
    READS("a,b\n\n", "1/0 [a][b]\nline 2, byte 5: an empty line");
    READS("a\n\"x", "1/0 [a]\nline 2, byte 5: the data ends inside a quoted value (opened in line 2)");
    READS("a\n\"x\ny\n", "1/0 [a]\nline 4, byte 8: the data ends inside a quoted value (opened in line 2)");
    READS("a\nx\"y\"\n", "1/0 [a]\nline 2, byte 4: a quote in a value that does not begin with one");
    READS("a,b\n1, \"2\"\n", "1/0 [a][b]\nline 2, byte 8: a quote in a value that does not begin with one");
    READS("a,b\n\"1\" ,2\n", "1/0 [a][b]\nline 2, byte 8: more text after a closing quote");
    READS("a\n\"1\"x\n", "1/0 [a]\nline 2, byte 6: more text after a closing quote");
    READS("a\n1\rx\n", "1/0 [a]\nline 2, byte 5: a carriage return without a line feed behind it");
    READS("a\n1\r", "1/0 [a]\nline 2, byte 5: the data ends with a carriage return and no line feed");
}

static void test_limits(void)
{
    struct csv_options options = {.delimiter = ',', .max_record = 100};
    struct csv_reader *r = csv_reader_new(&options);
    struct csv_row row;
    for (int i = 0; i < 3; i++) {
        char *room = csv_reader_space(r, 60);
        if (i == 2) {
            CHECK(room == NULL && strstr(csv_reader_error(r), "longer than 100 bytes"));
            CHECK(csv_reader_next(r, &row) == CSV_FAILED);
            break;
        }
        memset(room, 'x', 60);
        csv_reader_filled(r, 60);
        CHECK(csv_reader_next(r, &row) == CSV_MORE);
    }
    csv_reader_free(r);
    r = csv_reader_new(&options);
    size_t n = 70000;
    memset(csv_reader_space(r, n), ',', n);
    csv_reader_filled(r, n);
    CHECK(csv_reader_next(r, &row) == CSV_FAILED && strstr(csv_reader_error(r), "too many fields"));
    csv_reader_free(r);
}

static void test_round_trip(void)
{
    static const char alphabet[] = "a\",;|\n\r \t^`\0\xC3\xA9";
    struct csv_format format = {0};
    struct buf text;
    struct buf got;
    struct buf expected;
    unsigned seed = 7;
    buf_init(&text, 1 << 20);
    buf_init(&got, 1 << 20);
    buf_init(&expected, 1 << 20);
    for (int round = 0; round < 3000; round++) {
        static const char delimiters[] = ",;\t|^`";
        int columns = 1 + round % 3;
        format.delimiter = delimiters[round % 6];
        format.crlf = round % 2;
        buf_clear(&text);
        buf_clear(&expected);
        for (int line = 0; line < 4; line++) {
            bool empty = true;
            for (int i = 0; i < columns; i++) {
                char value[8];
                size_t len = (seed >> 16) % 8;
                for (size_t k = 0; k < len; k++) {
                    seed = seed * 1664525u + 1013904223u;
                    value[k] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
                }
                seed = seed * 1664525u + 1013904223u;
                empty = empty && len == 0;
                csv_write_field(&text, &format, i == 0, value, len);
                buf_add_char(&expected, '[');
                buf_add(&expected, value, len);
                buf_add_char(&expected, ']');
            }
            csv_write_end(&text, &format, empty && columns == 1);
            buf_add_char(&expected, '\n');
        }
        buf_add_string(&expected, "END");
        struct csv_options options = {.delimiter = format.delimiter};
        struct csv_reader *r = csv_reader_new(&options);
        struct csv_row row;
        memcpy(csv_reader_space(r, text.len), text.data, text.len);
        csv_reader_filled(r, text.len);
        csv_reader_finish(r);
        buf_clear(&got);
        enum csv_event e;
        while ((e = csv_reader_next(r, &row)) == CSV_ROW) {
            for (size_t i = 0; i < row.count; i++) {
                buf_add_char(&got, '[');
                buf_add(&got, row.fields[i].data, row.fields[i].len);
                buf_add_char(&got, ']');
            }
            buf_add_char(&got, '\n');
        }
        buf_add_string(&got, e == CSV_END ? "END" : csv_reader_error(r));
        csv_reader_free(r);
        CHECK(got.len == expected.len && memcmp(got.data, expected.data, got.len) == 0);
    }
    buf_free(&text);
    buf_free(&got);
    buf_free(&expected);
}

/* What csv_write_field has to write, a byte after the other. */
static void write_plainly(struct buf *out, bool first, const char *data, size_t len)
{
    bool quoted = len && (data[0] == ' ' || data[len - 1] == ' ' || (len > 2 && memcmp(data, "\xEF\xBB\xBF", 3) == 0));
    for (size_t i = 0; i < len; i++)
        quoted = quoted || data[i] == '"' || data[i] == ',' || data[i] == '\n' || data[i] == '\r';
    if (!first)
        buf_add_char(out, ',');
    if (quoted)
        buf_add_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '"')
            buf_add_char(out, '"');
        buf_add_char(out, data[i]);
    }
    if (quoted)
        buf_add_char(out, '"');
}

/* Values of every length up to 80, each byte that matters at every place, alone and behind another value, in memory of
 * just that size. */
static void test_writing(void)
{
    static const char *const bytes[] = {"x", "\"", ",", "\n", "\r", " ", "\xEF\xBB\xBF", "\xEF", ";", "\"\""};
    const struct csv_format format = {.delimiter = ','};
    for (size_t n = 0; n <= 80; n++) {
        for (size_t place = 0; place <= n; place++) {
            struct buf got;
            struct buf expected;
            buf_init(&got, 1 << 20);
            buf_init(&expected, 1 << 20);
            for (size_t b = 0; b < sizeof bytes / sizeof bytes[0]; b++) {
                size_t more = strlen(bytes[b]);
                char *value = malloc(n + more);
                memset(value, 'a', n + more);
                memcpy(value + place, bytes[b], more);
                CHECK(csv_write_field(&got, &format, b % 2 == 0, value, n + more));
                write_plainly(&expected, b % 2 == 0, value, n + more);
                free(value);
            }
            CHECK(csv_write_field(&got, &format, false, "", 0));
            write_plainly(&expected, false, "", 0);
            CHECK(strlen(buf_string(&got)) == got.len && strcmp(buf_string(&got), buf_string(&expected)) == 0);
            buf_free(&got);
            buf_free(&expected);
        }
    }
    struct buf full;
    buf_init(&full, 20);
    CHECK(csv_write_field(&full, &format, true, "0123456789", 10) &&
          !csv_write_field(&full, &format, false, "0123456789", 10));
    CHECK(csv_write_field(&full, &format, false, "\"", 1) && strcmp(buf_string(&full), "0123456789,\"\"\"\"") == 0);
    CHECK(!csv_write_field(&full, &format, false, "\"\"\"", 3));
    buf_free(&full);
}

static int number_is(double n, const char *expected)
{
    char out[CSV_NUMBER_MAX];
    size_t len = csv_format_number(out, n);
    return len == strlen(expected) && memcmp(out, expected, len) == 0 && strtod(expected, NULL) == n;
}

static void test_numbers(void)
{
    CHECK(number_is(0, "0") && number_is(5, "5") && number_is(-2.5, "-2.5") && number_is(0.1, "0.1"));
    CHECK(number_is(1.0 / 3, "0.3333333333333333") && number_is(0.1 + 0.2, "0.30000000000000004"));
    CHECK(number_is(912260031, "912260031") && number_is(9007199254740992.0, "9007199254740992"));
    CHECK(number_is(1e300, "1e+300") && number_is(5e-324, "5e-324") && number_is(1e15, "1000000000000000"));
}

static int reads_number(const char *text, double expected)
{
    double n;
    return csv_parse_number(text, strlen(text), &n) && n == expected;
}

static int reads_integer(const char *text, long long expected)
{
    long long n;
    return csv_parse_integer(text, strlen(text), &n) && n == expected;
}

static void test_parsing(void)
{
    static const char *const no_numbers[] = {"",    " ",   "1 ",  "x",     "0x10", "1e",
                                             "inf", "nan", "1,5", "1e999", "--1",  "1.2.3"};
    static const char *const no_integers[] = {"", "-", "+1", "1.0", " 1", "1e3", "1234567890123456789", "1x"};
    double n;
    long long i;
    CHECK(reads_number("0", 0) && reads_number("-2.5", -2.5) && reads_number("9.12260031E8", 912260031));
    CHECK(reads_number("1e-3", 0.001) && reads_number(".5", 0.5));
    CHECK(reads_integer("0", 0) && reads_integer("-17", -17) &&
          reads_integer("999999999999999999", 999999999999999999));
    for (size_t k = 0; k < sizeof no_numbers / sizeof no_numbers[0]; k++)
        CHECK(!csv_parse_number(no_numbers[k], strlen(no_numbers[k]), &n));
    for (size_t k = 0; k < sizeof no_integers / sizeof no_integers[0]; k++)
        CHECK(!csv_parse_integer(no_integers[k], strlen(no_integers[k]), &i));
    CHECK(!csv_parse_number("1\0", 2, &n) && !csv_parse_integer("1\0", 2, &i));
}

int main(void)
{
    test_rows();
    test_delimiters();
    test_faults();
    test_limits();
    test_round_trip();
    test_writing();
    test_numbers();
    test_parsing();
    return check_result();
}
