/* Torch checkpoints: the zip's directory, the legacy stream, and the pickles of both. */
#include "tests/fuzz/read_tensor_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    read_tensor_file(bytes, size);
    return 0;
}
