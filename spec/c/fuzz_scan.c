/* Whatever the bytes: the scanner of this machine, the one in plain C and the simplest one find the same. */
#include "scan_twin.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char delimiter = size ? (char)data[0] : 0;
    if (!finds(scan_blocks, data, size, delimiter) || !finds(scan_blocks_plain, data, size, delimiter))
        abort();
    if (!seeks(scan_special, data, size, delimiter) || !seeks(scan_special_plain, data, size, delimiter))
        abort();
    if (!validates(scan_utf8, data, size) || !validates(scan_utf8_plain, data, size))
        abort();
    if (first_bad(scan_utf8, data, size) != first_bad(scan_utf8_plain, data, size))
        abort();
    return 0;
}
