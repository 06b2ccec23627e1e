/* How fast the scanner of src/scan.c goes through a file, and its twins:
 *
 *     scanners SCANNER FILE
 *
 * SCANNER: csv or utf8, as this machine runs it; csv-vector or utf8-vector, by vectors of 16 bytes; csv-plain or
 * utf8-plain, in plain C. Prints the seconds of processor and of the clock for ROUNDS times the file, which is in
 * memory by then, and how many bytes that were. */
#include "clock.h"
#include "scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 10 };

typedef size_t blocks_scanner(const char *data, size_t n, char delimiter, struct scan_block *blocks);
typedef uint64_t utf8_scanner(struct scan_utf8 *u, const char *data, size_t n);

static const struct {
    const char *name;
    blocks_scanner *blocks;
    utf8_scanner *utf8;
} scanners[] = {
    {"csv", scan_blocks, NULL}, {"csv-vector", scan_blocks_vector, NULL}, {"csv-plain", scan_blocks_plain, NULL},
    {"utf8", NULL, scan_utf8},  {"utf8-vector", NULL, scan_utf8_vector},  {"utf8-plain", NULL, scan_utf8_plain},
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "scanners: %s\n", what);
    exit(1);
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        fail("the file cannot be read");
    *n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*n);
    if (!data || fread(data, 1, *n, f) != *n)
        fail("the file cannot be read");
    fclose(f);
    return data;
}

/* Answers something that hangs on all that was found, so that the compiler leaves nothing out. */
static uint64_t scan(size_t which, const char *data, size_t n)
{
    struct scan_block blocks[SCAN_BLOCKS];
    struct scan_utf8 u = {0};
    uint64_t found = 0;
    for (size_t at = 0, looked; at < n; at += looked) {
        if (scanners[which].blocks) {
            looked = scanners[which].blocks(data + at, n - at, ',', blocks);
            found += blocks[0].delimiters;
        } else {
            looked = n - at < SCAN_BYTES ? n - at : SCAN_BYTES;
            found += scanners[which].utf8(&u, data + at, looked);
        }
    }
    return found;
}

int main(int argc, char **argv)
{
    size_t n;
    size_t which = 0;
    volatile uint64_t found = 0;
    if (argc != 3)
        fail("SCANNER FILE expected");
    while (which < sizeof scanners / sizeof *scanners && strcmp(scanners[which].name, argv[1]) != 0)
        which++;
    if (which == sizeof scanners / sizeof *scanners)
        fail("there is no such scanner");
    char *data = read_file(argv[2], &n);
    double began = clock_now();
    clock_t cpu = clock();
    for (int i = 0; i < ROUNDS; i++)
        found += scan(which, data, n);
    printf("%g %g %.0f\n", (double)(clock() - cpu) / CLOCKS_PER_SEC, clock_now() - began, (double)n * ROUNDS);
    free(data);
    return 0;
}
