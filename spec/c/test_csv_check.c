/* The checksums of the parts that a check cuts CSV into. */
#include "../../src/csv_check.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 64 };

static bool hex_of(enum digest_kind kind, const char *a, size_t a_len, const char *b, size_t b_len, char *hex)
{
    struct digest *d = digest_new(kind);
    digest_add(d, a, a_len);
    digest_add(d, b, b_len);
    bool ok = digest_hex(d, hex);
    digest_free(d);
    return ok;
}

/* Checks the text as it comes in steps; each piece is gone before the next comes. Answers how many parts there were. */
static size_t check_in_steps(const char *text, size_t len, size_t step, unsigned long long part_bytes,
                             struct csv_part *parts, struct csv_facts *facts)
{
    struct csv_check_options options = {.part_bytes = part_bytes, .sha256 = true};
    struct csv_check *c = csv_check_new(&options);
    struct csv_row header;
    enum csv_event e = CSV_MORE;
    size_t count = 0;
    for (size_t at = 0; e != CSV_END && e != CSV_FAILED;) {
        size_t n = len - at < step ? len - at : step;
        char *piece = NULL;
        if (n) {
            piece = malloc(n);
            memcpy(piece, text + at, n);
            CHECK(csv_check_feed(c, piece, n));
        } else {
            csv_check_finish(c);
        }
        at += n;
        while ((e = csv_check_run(c, &header)) == CSV_ROW) {
        }
        free(piece);
        size_t more;
        const struct csv_part *p = csv_check_parts(c, &more);
        for (size_t i = 0; i < more && count < MOST_PARTS; i++)
            parts[count++] = p[i];
        csv_check_drop_parts(c);
    }
    CHECK(e == CSV_END);
    *facts = *csv_check_facts(c);
    csv_check_free(c);
    return count;
}

/* In steps of this size, it is cut into parts of at most this size: are they, and their checksums, right? */
static void check_steps(const char *text, size_t len, size_t step, unsigned long long part_bytes)
{
    struct csv_part parts[MOST_PARTS];
    struct csv_facts facts;
    char expected[DIGEST_HEX + 1];
    size_t count = check_in_steps(text, len, step, part_bytes, parts, &facts);
    size_t header = (size_t)(facts.header_end - facts.header_first);
    unsigned long long at = facts.header_end;
    for (size_t p = 0; p < count; p++) {
        CHECK(parts[p].first == at && parts[p].end > at);
        at = parts[p].end;
        CHECK(hex_of(DIGEST_BODY, text + facts.header_first, header, text + parts[p].first,
                     (size_t)(parts[p].end - parts[p].first), expected) &&
              strcmp(parts[p].digest, expected) == 0);
    }
    CHECK(at == len && facts.bytes == len);
    CHECK(hex_of(DIGEST_FILE, text, len, "", 0, expected) && strcmp(facts.sha256, expected) == 0);
}

static void check_text(const char *text, size_t len)
{
    static const unsigned long long sizes[] = {0, 1, 20, 24, 30, 47, 100, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t step = 1; step <= len; step++)
            check_steps(text, len, step, sizes[i]);
}

/* Records that are too long for the quick look, between short ones, with a fault or without one. */
static void check_long_records(void)
{
    static const size_t steps[] = {997, 4096, 65536, 1 << 20, 1 << 24};
    struct buf text;
    buf_init(&text, 1 << 24);
    buf_add_string(&text, "a,b\n1,2\n");
    for (int i = 0; i < 6; i++) {
        buf_add_string(&text, "\"");
        for (int n = 0; n < 10000; n++)
            buf_add_string(&text, "\xC3\xA4\nsome \"\"text");
        buf_add_string(&text, "\",x\n3,4\n5,\"6\n7\"\n");
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        check_steps(text.data, text.len, steps[i], 0);
        check_steps(text.data, text.len, steps[i], 150);
    }
    buf_add_string(&text, "8,\xC3\n");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct csv_check_options options = {0};
        struct csv_check *c = csv_check_new(&options);
        struct csv_row header;
        enum csv_event e = CSV_MORE;
        unsigned long long line;
        unsigned long long byte;
        size_t column;
        for (size_t at = 0, n = 0; at < text.len && e == CSV_MORE; at += n) {
            n = text.len - at < steps[i] ? text.len - at : steps[i];
            CHECK(csv_check_feed(c, text.data + at, n));
            while ((e = csv_check_run(c, &header)) == CSV_ROW) {
            }
        }
        if (e == CSV_MORE) {
            csv_check_finish(c);
            e = csv_check_run(c, &header);
        }
        CHECK(e == CSV_FAILED && csv_check_facts(c)->records == 19);
        CHECK(strstr(csv_check_error(c, &line, &byte, &column), "not UTF-8: the byte 0xC3 in place 1") != NULL);
        CHECK(line == 3 + 6 * (10000 + 4) && byte == text.len - 3 && column == 2);
        csv_check_free(c);
    }
    buf_free(&text);
}

int main(void)
{
    static const char plain[] = "Name,Ext__c\nOne,1\nTwo,22222222\nThree,3\nFour,4\nFive,5\n";
    static const char marked[] =
        "\xEF\xBB\xBFName;Ext__c\r\n\"a \"\"quote\"\"\r\nand a break\";1\r\nTwo;2\r\nThree;\"3\"";
    static const char empty[] = "Name,Ext__c\n";
    check_text(plain, sizeof plain - 1);
    check_text(marked, sizeof marked - 1);
    check_text(empty, sizeof empty - 1);
    check_long_records();
    return check_result();
}
