/* What the scanner has to find, written so that it can be read at a glance; for its test and its fuzz target. */
#ifndef SCAN_REFERENCE_H
#define SCAN_REFERENCE_H

#include "../../src/scan.h"

#include <string.h>

static inline struct scan_block reference_block(const unsigned char *data, size_t n, char delimiter)
{
    struct scan_block b = {0};
    for (size_t i = 0; i < n && i < SCAN_BYTES; i++) {
        uint64_t bit = (uint64_t)1 << i;
        if (data[i] == '"')
            b.quotes |= bit;
        if (delimiter && data[i] == (unsigned char)delimiter)
            b.delimiters |= bit;
        if (data[i] == '\n')
            b.line_feeds |= bit;
        if (data[i] == '\r')
            b.returns |= bit;
        if (data[i] >= 0x80)
            b.high |= bit;
    }
    return b;
}

/* Are all of a block's bits as they are in another? */
static inline bool same_block(const struct scan_block *a, const struct scan_block *b)
{
    return a->quotes == b->quotes && a->delimiters == b->delimiters && a->line_feeds == b->line_feeds &&
           a->returns == b->returns && a->high == b->high;
}

typedef size_t scanner(const char *, size_t, char, struct scan_block *);

/* Does this scanner find what there is? */
static inline bool finds(scanner *scan, const unsigned char *data, size_t n, char delimiter)
{
    struct scan_block blocks[SCAN_BLOCKS];
    for (size_t at = 0; at < n;) {
        size_t looked = scan((const char *)data + at, n - at, delimiter, blocks);
        size_t most = SCAN_BLOCKS * SCAN_BYTES;
        if (looked != (n - at < most ? n - at : most))
            return false;
        for (size_t i = 0; i < looked; i += SCAN_BYTES) {
            struct scan_block expected = reference_block(data + at + i, looked - i, delimiter);
            if (!same_block(&blocks[i / SCAN_BYTES], &expected))
                return false;
        }
        at += looked;
    }
    return true;
}

static inline bool all_find(const unsigned char *data, size_t n, char delimiter)
{
    return finds(scan_blocks, data, n, delimiter) && finds(scan_blocks_vector, data, n, delimiter) &&
           finds(scan_blocks_plain, data, n, delimiter);
}

typedef bool copier(char *, const char *, size_t, char);

/* Does this one copy the bytes, at most 2 KiB, and nothing else, and know whether there is something special in them?
 */
static inline bool copies(copier *copy, const unsigned char *data, size_t n, char delimiter)
{
    char room[2048 + 1];
    bool expected = false;
    n = n < 2048 ? n : 2048;
    if (!delimiter)
        return true;
    for (size_t i = 0; i < n; i++)
        expected |= data[i] == '"' || data[i] == '\n' || data[i] == '\r' || data[i] == (unsigned char)delimiter;
    room[n] = 'x';
    bool found = copy(room, (const char *)data, n, delimiter);
    return found == expected && (n == 0 || memcmp(room, data, n) == 0) && room[n] == 'x';
}

static inline bool all_copy(const unsigned char *data, size_t n, char delimiter)
{
    return copies(scan_copy, data, n, delimiter) && copies(scan_copy_plain, data, n, delimiter);
}

/* How many bytes at `p` are a character (RFC 3629, the table in section 4); 0: none is. *cut: the text ends before that
 * is known. */
static inline size_t reference_character(const unsigned char *p, size_t left, bool *cut)
{
    static const struct {
        unsigned char first, last, low, high; /* the first byte, and the second */
        size_t size;
    } rows[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
                {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (p[0] < rows[i].first || p[0] > rows[i].last)
            continue;
        for (size_t n = 1; n < rows[i].size; n++) {
            if (n == left) {
                *cut = true;
                return 0;
            }
            if (n == 1 ? p[1] < rows[i].low || p[1] > rows[i].high : (p[n] & 0xC0) != 0x80)
                return 0;
        }
        return rows[i].size;
    }
    return 0;
}

/* Does the text end inside of a character? */
static inline bool reference_is_cut(const unsigned char *data, size_t n)
{
    bool cut = false;
    for (size_t at = 0, size = 1; at < n && size; at += size)
        size = reference_character(data + at, n - at, &cut);
    return cut;
}

/* Where the first character is that is none; `n`: nowhere. A last one may be cut. */
static inline size_t reference_bad(const unsigned char *data, size_t n)
{
    bool cut = false;
    for (size_t at = 0; at < n;) {
        size_t size = reference_character(data + at, n - at, &cut);
        if (!size)
            return cut ? n : at;
        at += size;
    }
    return n;
}

typedef uint64_t validator(struct scan_utf8 *, const char *, size_t);

/* The first byte that this one calls bad; `n`: none. */
static inline size_t first_bad(validator *check, const unsigned char *data, size_t n)
{
    struct scan_utf8 u = {0};
    for (size_t at = 0; at < n; at += SCAN_BYTES) {
        uint64_t bad = check(&u, (const char *)data + at, n - at < SCAN_BYTES ? n - at : SCAN_BYTES);
        if (bad)
            return at + scan_first(bad);
    }
    return n;
}

/* Does this one agree? It may find the fault up to three bytes behind where the character begins. */
static inline bool validates(validator *check, const unsigned char *data, size_t n)
{
    size_t at = first_bad(check, data, n);
    size_t expected = reference_bad(data, n);
    return expected == n ? at == n : at >= expected && at <= expected + 3;
}

static inline bool all_validate(const unsigned char *data, size_t n)
{
    size_t at = first_bad(scan_utf8, data, n);
    return validates(scan_utf8, data, n) && first_bad(scan_utf8_vector, data, n) == at &&
           first_bad(scan_utf8_plain, data, n) == at;
}

#endif
