/* Runs a fuzz target over every file of a folder: what a fuzzer once found stays found. */
#include "common/base/file.h"
#include "common/base/memory.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int main(int argc, char **argv)
{
    Error e;
    char **names;
    int count;
    if (argc != 2 || !folder_list(argv[1], &names, &count, &e) || count == 0) {
        fprintf(stderr, "usage: %s CORPUS (a folder with at least one file)\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        char *path = path_join(argv[1], names[i]);
        size_t size;
        char *bytes = file_read(path, &size, &e);
        if (!bytes) {
            fprintf(stderr, "%s\n", e.text);
            return 2;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
        mem_free(bytes);
        mem_free(path);
    }
    printf("%d files replayed\n", count);
    names_free(names, count);
    return 0;
}
