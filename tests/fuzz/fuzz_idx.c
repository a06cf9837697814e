/* idx arrays of rank 1 (labels) and 3 (images): what is accepted lies wholly inside the input. */
#include "datasets/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    for (int rank = 1; rank <= 3; rank += 2) {
        int64_t sizes[3] = {1, 1, 1};
        const uint8_t *elements;
        Error e;
        if (!idx_parse(bytes, size, rank, sizes, &elements, &e))
            continue;
        volatile uint8_t last;
        for (int64_t i = 0; i < sizes[0] * sizes[1] * sizes[2]; i++)
            last = elements[i];
        (void)last;
    }
    return 0;
}
