/* Tar archives: every listed member lies inside, every name ends. */
#include "datasets/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    TarIndex index;
    Error e;
    if (!tar_index(bytes, size, &index, &e))
        return 0;
    for (size_t i = 0; i < index.members.count; i++) {
        const TarMember *member = &index.members.items[i];
        contract(member->offset <= size && member->size <= size - member->offset, "member %zu is outside", i);
        contract(member->name < index.names.length, "name %zu is outside", i);
        tar_find(&index, tar_name(&index, member));
        if (i == 100) /* finding is linear */
            break;
    }
    tar_index_free(&index);
    return 0;
}
