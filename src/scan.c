#include "scan.h"

#include <string.h>

#if defined __SSE2__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_neon.h>
#endif

/* The bytes of a block that are equal to `byte`, or not less: a bit for each. All the rest is made of these two, and is
 * the same for every machine. */
typedef uint64_t compare(const char *block, unsigned char byte);

/* Is a quote, a line end or the delimiter among the eight bytes at `a` and the eight at `b`? */
typedef bool special_pair(const char *a, const char *b, unsigned char delimiter);

/* ---- in plain C: eight bytes at a time ---- */

static const uint64_t each = 0x0101010101010101U;
static const uint64_t tops = 0x8080808080808080U;

/* Compilers make one load of it. */
static inline uint64_t load_eight(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 |
           (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

/* The top bits of eight bytes, side by side. */
static inline uint64_t gather(uint64_t bits)
{
    return ((bits & tops) >> 7) * 0x0102040810204080U >> 56;
}

/* The top bit of each of eight bytes that is equal to `byte`; no carry leaves its byte. */
static inline uint64_t equal_tops(uint64_t eight, unsigned char byte)
{
    uint64_t differ = eight ^ each * byte;
    return ~(((differ & ~tops) + ~tops) | differ);
}

static inline uint64_t equal_plain(const char *block, unsigned char byte)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < SCAN_BYTES; i += 8)
        found |= gather(equal_tops(load_eight(block + i), byte)) << i;
    return found;
}

static inline uint64_t special_tops(uint64_t eight, unsigned char delimiter)
{
    return equal_tops(eight, '"') | equal_tops(eight, '\n') | equal_tops(eight, '\r') | equal_tops(eight, delimiter);
}

static inline bool special_plain(const char *a, const char *b, unsigned char delimiter)
{
    return ((special_tops(load_eight(a), delimiter) | special_tops(load_eight(b), delimiter)) & tops) != 0;
}

static inline uint64_t at_least_plain(const char *block, unsigned char byte)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < SCAN_BYTES; i += 8) {
        uint64_t eight = load_eight(block + i);
        /* `byte` is 128 or more: the lower seven bits decide among those that are, too. */
        found |= gather(eight & ((eight & ~tops) + each * (256U - byte))) << i;
    }
    return found;
}

/* ---- with vectors of sixteen ---- */

#if defined __SSE2__

static inline uint64_t bits_of(__m128i yes)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(yes);
}

static inline __m128i sixteen(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline uint64_t equal_vector(const char *block, unsigned char byte)
{
    __m128i all = _mm_set1_epi8((char)byte);
    return bits_of(_mm_cmpeq_epi8(sixteen(block), all)) | bits_of(_mm_cmpeq_epi8(sixteen(block + 16), all)) << 16 |
           bits_of(_mm_cmpeq_epi8(sixteen(block + 32), all)) << 32 |
           bits_of(_mm_cmpeq_epi8(sixteen(block + 48), all)) << 48;
}

static inline bool special_vector(const char *a, const char *b, unsigned char delimiter)
{
    __m128i bytes = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)a),
                                       _mm_loadl_epi64((const __m128i *)(const void *)b));
    __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')));
    __m128i others =
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)delimiter)));
    return bits_of(_mm_or_si128(ends, others)) != 0;
}

/* There is no comparison of unsigned bytes, but a maximum. */
static inline uint64_t sixteen_at_least(const char *p, __m128i all)
{
    return bits_of(_mm_cmpeq_epi8(_mm_max_epu8(sixteen(p), all), sixteen(p)));
}

static inline uint64_t at_least_vector(const char *block, unsigned char byte)
{
    __m128i all = _mm_set1_epi8((char)byte);
    return sixteen_at_least(block, all) | sixteen_at_least(block + 16, all) << 16 |
           sixteen_at_least(block + 32, all) << 32 | sixteen_at_least(block + 48, all) << 48;
}

#elif defined __aarch64__

/* One bit of each byte, by adding neighbours three times. */
static inline uint64_t bits_of(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d)
{
    static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t place = vld1q_u8(places);
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, place), vandq_u8(b, place));
    uint8x16_t cd = vpaddq_u8(vandq_u8(c, place), vandq_u8(d, place));
    uint8x16_t all = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

static inline uint8x16_t sixteen(const char *p)
{
    return vld1q_u8((const uint8_t *)p);
}

static inline uint64_t equal_vector(const char *block, unsigned char byte)
{
    uint8x16_t all = vdupq_n_u8(byte);
    return bits_of(vceqq_u8(sixteen(block), all), vceqq_u8(sixteen(block + 16), all),
                   vceqq_u8(sixteen(block + 32), all), vceqq_u8(sixteen(block + 48), all));
}

static inline bool special_vector(const char *a, const char *b, unsigned char delimiter)
{
    uint8x16_t bytes = vcombine_u8(vld1_u8((const uint8_t *)a), vld1_u8((const uint8_t *)b));
    uint8x16_t ends = vorrq_u8(vceqq_u8(bytes, vdupq_n_u8('\n')), vceqq_u8(bytes, vdupq_n_u8('\r')));
    uint8x16_t others = vorrq_u8(vceqq_u8(bytes, vdupq_n_u8('"')), vceqq_u8(bytes, vdupq_n_u8(delimiter)));
    return vmaxvq_u8(vorrq_u8(ends, others)) != 0;
}

static inline uint64_t at_least_vector(const char *block, unsigned char byte)
{
    uint8x16_t all = vdupq_n_u8(byte);
    return bits_of(vcgeq_u8(sixteen(block), all), vcgeq_u8(sixteen(block + 16), all),
                   vcgeq_u8(sixteen(block + 32), all), vcgeq_u8(sixteen(block + 48), all));
}

#else
#define equal_vector equal_plain
#define at_least_vector at_least_plain
#define special_vector special_plain
#endif

/* ---- with vectors of 32, which not every x86 has ---- */

#if defined __SSE2__
#define AVX2 __attribute__((target("avx2")))

AVX2 static inline uint64_t wide_bits(__m256i low, __m256i high)
{
    return (uint64_t)(unsigned)_mm256_movemask_epi8(low) | (uint64_t)(unsigned)_mm256_movemask_epi8(high) << 32;
}

AVX2 static inline __m256i thirty_two(const char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static inline uint64_t equal_wide(const char *block, unsigned char byte)
{
    __m256i all = _mm256_set1_epi8((char)byte);
    return wide_bits(_mm256_cmpeq_epi8(thirty_two(block), all), _mm256_cmpeq_epi8(thirty_two(block + 32), all));
}

AVX2 static inline __m256i wide_at_least(const char *p, __m256i all)
{
    return _mm256_cmpeq_epi8(_mm256_max_epu8(thirty_two(p), all), thirty_two(p));
}

AVX2 static inline uint64_t at_least_wide(const char *block, unsigned char byte)
{
    __m256i all = _mm256_set1_epi8((char)byte);
    return wide_bits(wide_at_least(block, all), wide_at_least(block + 32, all));
}
#endif

/* ---- what all do ---- */

#define INLINE static inline __attribute__((always_inline))

INLINE struct scan_block look(const char *block, char delimiter, compare *equal, compare *at_least)
{
    struct scan_block b;
    b.quotes = equal(block, '"');
    b.delimiters = delimiter ? equal(block, (unsigned char)delimiter) : 0;
    b.line_feeds = equal(block, '\n');
    b.returns = equal(block, '\r');
    b.high = at_least(block, 0x80);
    return b;
}

INLINE size_t look_at_all(const char *data, size_t n, char delimiter, struct scan_block *blocks, compare *equal,
                          compare *at_least)
{
    size_t at = 0;
    if (n > SCAN_BLOCKS * SCAN_BYTES)
        n = SCAN_BLOCKS * SCAN_BYTES;
    for (; at + SCAN_BYTES <= n; at += SCAN_BYTES)
        *blocks++ = look(data + at, delimiter, equal, at_least);
    if (at < n) {
        char last[SCAN_BYTES] = {0};
        memcpy(last, data + at, n - at);
        *blocks = look(last, delimiter, equal, at_least);
    }
    return n;
}

size_t scan_blocks_vector(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS])
{
    return look_at_all(data, n, delimiter, blocks, equal_vector, at_least_vector);
}

#ifdef AVX2
AVX2 static size_t scan_blocks_wide(const char *data, size_t n, char delimiter, struct scan_block *blocks)
{
    return look_at_all(data, n, delimiter, blocks, equal_wide, at_least_wide);
}
#endif

size_t scan_blocks(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS])
{
#ifdef AVX2
    if (__builtin_cpu_supports("avx2"))
        return scan_blocks_wide(data, n, delimiter, blocks);
#endif
    return scan_blocks_vector(data, n, delimiter, blocks);
}

size_t scan_blocks_plain(const char *data, size_t n, char delimiter, struct scan_block blocks[SCAN_BLOCKS])
{
    return look_at_all(data, n, delimiter, blocks, equal_plain, at_least_plain);
}

/* In place of a loop over the last bytes, or of a look behind them, some bytes are copied and looked at twice. */
INLINE bool copy(char *to, const char *from, size_t n, char delimiter, special_pair *special)
{
    unsigned char c = (unsigned char)delimiter;
    bool found = false;
    if (n >= 16) {
        size_t last = n - 16;
        for (size_t at = 0; at < last; at += 16) {
            memcpy(to + at, from + at, 16);
            found |= special(from + at, from + at + 8, c);
        }
        memcpy(to + last, from + last, 16);
        return special(from + last, from + last + 8, c) || found;
    }
    if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
        return special(from, from + n - 8, c);
    }
    uint64_t all = 0;
    if (n >= 4) {
        uint32_t first;
        uint32_t last;
        memcpy(&first, from, 4);
        memcpy(&last, from + n - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + n - 4, &last, 4);
        all = (uint64_t)first << 32 | last;
    } else {
        for (size_t i = 0; i < n; i++) {
            to[i] = from[i];
            all = all << 8 | (unsigned char)from[i];
        }
    }
    return special((const char *)&all, (const char *)&all, c);
}

bool scan_copy(char *to, const char *from, size_t n, char delimiter)
{
    return copy(to, from, n, delimiter, special_vector);
}

bool scan_copy_plain(char *to, const char *from, size_t n, char delimiter)
{
    return copy(to, from, n, delimiter, special_plain);
}

/* A character is one byte below 80, or a first byte from C2 to F4 and one to three that go on, 80 to BF. The second
 * byte has a narrower range behind four of the first ones. */
INLINE uint64_t find_bad(struct scan_utf8 *u, const char *block, compare *equal, compare *at_least)
{
    uint64_t high = at_least(block, 0x80);
    uint64_t first = at_least(block, 0xC2);
    uint64_t of_three = at_least(block, 0xE0);
    uint64_t of_four = at_least(block, 0xF0);
    uint64_t going_on = high & ~at_least(block, 0xC0);
    uint64_t from_a0 = at_least(block, 0xA0);
    uint64_t from_90 = at_least(block, 0x90);
    uint64_t e0 = equal(block, 0xE0);
    uint64_t ed = equal(block, 0xED);
    uint64_t f0 = equal(block, 0xF0);
    uint64_t f4 = equal(block, 0xF4);
    uint64_t expected = first << 1 | of_three << 2 | of_four << 3 | u->expected;
    uint64_t bad = (expected ^ going_on) | (high & ~going_on & ~first) | at_least(block, 0xF5);
    bad |= (e0 << 1 | u->after_e0) & ~from_a0;
    bad |= (ed << 1 | u->after_ed) & from_a0;
    bad |= (f0 << 1 | u->after_f0) & ~from_90;
    bad |= (f4 << 1 | u->after_f4) & from_90;
    u->expected = first >> 63 | of_three >> 62 | of_four >> 61;
    u->after_e0 = e0 >> 63;
    u->after_ed = ed >> 63;
    u->after_f0 = f0 >> 63;
    u->after_f4 = f4 >> 63;
    return bad;
}

INLINE uint64_t find_bad_of(struct scan_utf8 *u, const char *data, size_t n, compare *equal, compare *at_least)
{
    char last[SCAN_BYTES] = {0};
    if (n == SCAN_BYTES)
        return find_bad(u, data, equal, at_least);
    memcpy(last, data, n);
    return find_bad(u, last, equal, at_least) & scan_below(n);
}

uint64_t scan_utf8_vector(struct scan_utf8 *u, const char *data, size_t n)
{
    return find_bad_of(u, data, n, equal_vector, at_least_vector);
}

#ifdef AVX2
AVX2 static uint64_t scan_utf8_wide(struct scan_utf8 *u, const char *data, size_t n)
{
    return find_bad_of(u, data, n, equal_wide, at_least_wide);
}
#endif

uint64_t scan_utf8(struct scan_utf8 *u, const char *data, size_t n)
{
#ifdef AVX2
    if (__builtin_cpu_supports("avx2"))
        return scan_utf8_wide(u, data, n);
#endif
    return scan_utf8_vector(u, data, n);
}

uint64_t scan_utf8_plain(struct scan_utf8 *u, const char *data, size_t n)
{
    return find_bad_of(u, data, n, equal_plain, at_least_plain);
}
