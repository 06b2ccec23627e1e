/* Whatever the bytes: the scanner of this machine, the one in plain C and the simplest one find the same. */
#include "scan_reference.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char delimiter = size ? (char)data[0] : 0;
    if (!all_find(data, size, delimiter) || !all_validate(data, size) || !all_copy(data, size, delimiter))
        abort();
    return 0;
}
