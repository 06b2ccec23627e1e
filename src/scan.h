/* Finds the bytes that matter in CSV, 64 at a time, and tells whether text is UTF-8. Whoever looks for quotes,
 * delimiters and line ends looks at the bits that are made here. */
#ifndef BULKJOB_SCAN_H
#define BULKJOB_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCAN_BYTES = 64, SCAN_BLOCKS = 16 };

/* Of 64 bytes: a bit for each, the lowest for the first. */
struct scan_block {
    uint64_t quotes;
    uint64_t delimiters;
    uint64_t line_feeds;
    uint64_t returns;
    uint64_t high; /* not ASCII */
};

/* Looks at the first bytes of `data`, at most SCAN_BLOCKS * SCAN_BYTES of them, and answers how many. Bits behind the
 * last byte are 0. A `delimiter` of 0 is in no place. */
size_t scan_blocks(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS]);

/* The same by vectors of 16 bytes (SSE2, NEON), which are used where there are none of 32 (AVX2), and in plain C. */
size_t scan_blocks_vector(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS]);
size_t scan_blocks_plain(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS]);

/* Copies `n` bytes to where nothing of them is. Answers whether there is a quote, a line end or the delimiter, which is
 * not 0, among them. */
bool scan_copy(char *to, const char *from, size_t n, char delimiter);
bool scan_copy_plain(char *to, const char *from, size_t n, char delimiter);

/* What the bytes before a block mean for it. Begins with all zero: a character begins. */
struct scan_utf8 {
    uint64_t expected; /* which of its first three bytes have to go on with a character */
    uint64_t after_e0; /* 1: the byte before it was this one, which narrows down the range of the next */
    uint64_t after_ed;
    uint64_t after_f0;
    uint64_t after_f4;
};

/* Which of the next `n` bytes are no UTF-8 (RFC 3629): they cannot be in any text, or not where they are. `n` is
 * SCAN_BYTES, less only in the last call; a text may end inside of a character. */
uint64_t scan_utf8(struct scan_utf8 *u, const char *data, size_t n);
uint64_t scan_utf8_vector(struct scan_utf8 *u, const char *data, size_t n);
uint64_t scan_utf8_plain(struct scan_utf8 *u, const char *data, size_t n);

/* Does text that is ASCII from here on need no look? */
static inline bool scan_utf8_idle(const struct scan_utf8 *u)
{
    return u->expected == 0;
}

/* For each byte: is an odd number of quotes up to it, itself included? Those are the opening quotes and what is between
 * them and the closing ones. *quoted: the same of the last byte before the block, and then of its last. */
static inline uint64_t scan_quoted(uint64_t quotes, bool *quoted)
{
    uint64_t odd = quotes;
    odd ^= odd << 1;
    odd ^= odd << 2;
    odd ^= odd << 4;
    odd ^= odd << 8;
    odd ^= odd << 16;
    odd ^= odd << 32;
    if (*quoted)
        odd = ~odd;
    *quoted = odd >> 63;
    return odd;
}

/* The place of the first bit; there has to be one. */
static inline unsigned scan_first(uint64_t bits)
{
    return (unsigned)__builtin_ctzll(bits);
}

/* How many bits there are. Written out: without a flag for newer processors the compiler calls a function that asks a
 * table. */
static inline unsigned scan_count(uint64_t bits)
{
    bits -= bits >> 1 & 0x5555555555555555U;
    bits = (bits & 0x3333333333333333U) + (bits >> 2 & 0x3333333333333333U);
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0FU;
    return (unsigned)(bits * 0x0101010101010101U >> 56);
}

/* The first `n` bits, 0 to 64. */
static inline uint64_t scan_below(size_t n)
{
    return n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
}

#endif
