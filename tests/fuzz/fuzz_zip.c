/* Zip archives: whatever the directory claims, an entry that is read has the size that was believed. */
#include "common/base/memory.h"
#include "common/tensor/zip_archive.h"
#include "datasets/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    enum { MOST_ENTRIES = 16, MOST_BYTES = 1 << 24 };
    ZipArchive zip;
    Error e;
    if (!zip_archive_open(&zip, bytes, size, &e))
        return 0;
    for (int64_t i = 0; i < zip_archive_count(&zip) && i < MOST_ENTRIES; i++) {
        const char *name = zip_archive_name(&zip, i);
        uint64_t unpacked;
        contract(!name || zip_archive_find(&zip, name) >= 0, "entry %lld is not found by its name", (long long)i);
        if (!zip_archive_size(&zip, i, &unpacked, &e) || unpacked > MOST_BYTES)
            continue;
        uint8_t *text = zip_archive_read(&zip, i, unpacked, &e);
        int64_t rows, columns;
        const uint8_t *elements;
        if (text && npy_parse_bytes(text, unpacked, &rows, &columns, &elements, &e))
            contract(elements + rows * columns == text + unpacked, "a matrix that does not fill its file");
        mem_free(text);
    }
    zip_archive_close(&zip);
    return 0;
}
