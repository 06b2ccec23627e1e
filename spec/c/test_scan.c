#include "check.h"
#include "scan_reference.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The same numbers in every run. */
static unsigned next_number(unsigned long long *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(*seed >> 33);
}

static void test_every_byte(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned char data[SCAN_BYTES * 2];
        for (size_t place = 0; place < sizeof data; place++) {
            memset(data, 'x', sizeof data);
            data[place] = (unsigned char)byte;
            CHECK(all_find(data, sizeof data, ','));
        }
        memset(data, (int)byte, sizeof data);
        for (size_t n = 0; n <= sizeof data; n++) {
            CHECK(all_find(data, n, (char)byte));
        }
    }
}

/* In memory of just that size, so that a sanitizer sees a byte too many. */
static void test_any_text(void)
{
    static const char bytes[] = "\"\"\",,,;\n\n\rxyz\0\xC3\xA4\xFF";
    unsigned long long seed = 1;
    for (int i = 0; i < 3000; i++) {
        size_t n = next_number(&seed) % 2500;
        unsigned char *data = malloc(n ? n : 1);
        for (size_t at = 0; data && at < n; at++)
            data[at] = (unsigned char)bytes[next_number(&seed) % (sizeof bytes - 1)];
        CHECK(data && all_find(data, n, ',') && all_copy(data, n, ','));
        free(data);
    }
}

/* Two pages, of which only the first can be touched. */
static unsigned char *new_pages(size_t page)
{
    unsigned char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE) != 0)
        abort();
    return pages;
}

/* Every length up to 200, every special byte at every place, from the very end of a page to the very end of another. */
static void test_copy(void)
{
    static copier *const copiers[] = {scan_copy, scan_copy_plain};
    static const char bytes[] = ",\"\n\rx\xC3";
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *from = new_pages(page);
    unsigned char *to = new_pages(page);
    for (size_t n = 0; n <= 200; n++) {
        unsigned char *end = from + page - n;
        memset(from, '"', page);
        for (size_t i = 0; i < n; i++)
            end[i] = (unsigned char)('a' + i % 26);
        for (size_t k = 0; k < 2; k++)
            CHECK(!copiers[k]((char *)to + page - n, (char *)end, n, ',') && memcmp(to + page - n, end, n) == 0);
        for (size_t place = 0; place < n; place++) {
            unsigned char before = end[place];
            for (size_t b = 0; b < sizeof bytes - 1; b++) {
                end[place] = (unsigned char)bytes[b];
                for (size_t k = 0; k < 2; k++) {
                    memset(to + page - n - 1, '.', n + 1);
                    CHECK(copiers[k]((char *)to + page - n, (char *)end, n, ',') == (b < 4));
                    CHECK(memcmp(to + page - n, end, n) == 0 && to[page - n - 1] == '.');
                }
                CHECK(all_copy(end, n, ','));
            }
            end[place] = before;
        }
    }
    munmap(from, 2 * page);
    munmap(to, 2 * page);
}

static void test_quoted(void)
{
    unsigned long long seed = 2;
    bool quoted = false;
    bool expected = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t quotes = (uint64_t)next_number(&seed) << 40 ^ (uint64_t)next_number(&seed) << 20 ^ next_number(&seed);
        uint64_t inside = scan_quoted(quotes, &quoted);
        bool same = true;
        for (int bit = 0; bit < 64; bit++) {
            expected ^= quotes >> bit & 1;
            same = same && (inside >> bit & 1) == expected;
        }
        CHECK(same && quoted == expected);
    }
}

static void test_bits(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 64; i++) {
        CHECK(scan_first((uint64_t)1 << i) == i);
        CHECK(scan_below(i) == ((uint64_t)1 << i) - 1);
        CHECK(scan_count(scan_below(i)) == n++);
    }
    CHECK(scan_below(64) == UINT64_MAX && scan_below(1000) == UINT64_MAX && scan_count(UINT64_MAX) == 64);
}

/* Every two bytes, and every four of those at which something changes, across the end of a block and before it. */
static void test_utf8(void)
{
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                          0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    enum { EDGES = sizeof edges };
    unsigned char data[SCAN_BYTES + 16];
    for (unsigned i = 0; i < 256 * 256; i++) {
        memset(data, 'x', sizeof data);
        data[SCAN_BYTES - 1] = (unsigned char)(i >> 8);
        data[SCAN_BYTES] = (unsigned char)i;
        CHECK(all_validate(data, sizeof data));
    }
    for (unsigned i = 0; i < EDGES * EDGES * EDGES * EDGES; i++) {
        size_t at = i % 2 ? SCAN_BYTES - 1 - i % 5 : i % 7;
        memset(data, 'x', sizeof data);
        for (unsigned k = 0, rest = i; k < 4; k++, rest /= EDGES)
            data[at + k] = edges[rest % EDGES];
        CHECK(all_validate(data, sizeof data));
        CHECK(all_validate(data, at + 4));
    }
}

int main(void)
{
    test_every_byte();
    test_any_text();
    test_copy();
    test_quoted();
    test_bits();
    test_utf8();
    return check_result();
}
