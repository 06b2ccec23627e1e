#include "../../src/surrogates.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

/* All that can stand beside one another in a JSON string, as far as surrogates go. */
static const struct piece {
    const char *text;
    enum { OTHER, HIGH, LOW } kind;
} pieces[] = {
    {"\\ud800", HIGH},    {"\\uDBFF", HIGH},  {"\\udc00", LOW},
    {"\\uDfFf", LOW},     {"\\ud7ff", OTHER}, {"\\uE000", OTHER},
    {"\\u00e9", OTHER},   {"\\ud8zz", OTHER}, {"\\\\", OTHER},
    {"\\\\ud800", OTHER}, {"\\n", OTHER},     {"\\\"", OTHER},
    {"\\Ud800", OTHER},   {"ud800", OTHER},   {"x", OTHER},
    {"", OTHER},          {"\",\"", OTHER},   {"\xf0\x9f\x8e\x89", OTHER},
};
enum { PIECES = sizeof pieces / sizeof pieces[0], IN_A_ROW = 3 };

/* What has to become of the first `len` bytes of these pieces. Answers whether that is another text. */
static bool expect(const struct piece *const row[IN_A_ROW], size_t len, char *expected)
{
    size_t at = 0;
    bool changed = false;
    bool after_high = false; /* and the low one behind it is whole, too */
    for (int i = 0; i < IN_A_ROW; i++) {
        const struct piece *p = row[i];
        size_t n = strlen(p->text);
        const struct piece *next = NULL; /* "" between two does not part them */
        for (int k = i + 1; k < IN_A_ROW && !next; k++)
            next = *row[k]->text ? row[k] : NULL;
        bool whole = at + n <= len;
        bool pair = p->kind == HIGH && next && next->kind == LOW && at + n + strlen(next->text) <= len;
        bool alone = whole && ((p->kind == HIGH && !pair) || (p->kind == LOW && !after_high));
        memcpy(expected + at, alone ? "\\ufffd" : p->text, n);
        at += n;
        changed = changed || alone;
        if (n)
            after_high = pair;
    }
    return changed;
}

static bool is_mended(const struct piece *const row[IN_A_ROW])
{
    char text[64] = "";
    char expected[64];
    for (int i = 0; i < IN_A_ROW; i++)
        strcat(text, row[i]->text);
    for (size_t len = 0; len <= strlen(text); len++) {
        bool changes = expect(row, len, expected);
        char *cut = malloc(len ? len : 1); /* of just this size, so that a step beyond it shows */
        memcpy(cut, text, len);
        bool good = surrogates_mend(cut, len) == changes && memcmp(cut, expected, len) == 0;
        /* and nothing is left to mend */
        good = good && !surrogates_mend(cut, len);
        if (!good)
            printf("# %.*s became %.*s\n", (int)len, text, (int)len, cut);
        free(cut);
        if (!good)
            return false;
    }
    return true;
}

static bool becomes(const char *text, const char *expected)
{
    char copy[64];
    strcpy(copy, text);
    return surrogates_mend(copy, strlen(copy)) == (strcmp(text, expected) != 0) && strcmp(copy, expected) == 0;
}

int main(void)
{
    CHECK(becomes("[\"\\ud800\"]", "[\"\\ufffd\"]"));
    CHECK(becomes("[\"\\ud83c\\udf89\"]", "[\"\\ud83c\\udf89\"]"));
    CHECK(becomes("[\"\\udf89\\ud83c\"]", "[\"\\ufffd\\ufffd\"]"));
    CHECK(becomes("[\"\\ud83c\\ud83c\\udf89\\udf89\"]", "[\"\\ufffd\\ud83c\\udf89\\ufffd\"]"));
    CHECK(becomes("[\"\\\\ud800\"]", "[\"\\\\ud800\"]"));
    CHECK(becomes("[\"\\\\\\ud800\"]", "[\"\\\\\\ufffd\"]"));
    for (int a = 0; a < PIECES; a++)
        for (int b = 0; b < PIECES; b++)
            for (int c = 0; c < PIECES; c++) {
                const struct piece *const row[IN_A_ROW] = {&pieces[a], &pieces[b], &pieces[c]};
                CHECK(is_mended(row));
            }
    return check_result();
}
