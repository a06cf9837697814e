/* torch.save since 1.6: an uncompressed zip with one folder: NAME/data.pkl, NAME/byteorder (since 2.1), and each storage
 * as NAME/data/KEY. Others repack it deflated. */
#include "common/tensor/torch_file.h"

#include "common/base/str.h"
#include "common/tensor/zip_archive.h"

#include <string.h>

#define MAX_PICKLE_BYTES (64u << 20)

typedef struct TorchZip {
    ZipArchive zip;
    char *folder;   /* "NAME/" */
    int64_t pickle; /* the entry of NAME/data.pkl */
    TorchStorages storages;
    unsigned char *loaded; /* the storage that was read last, or NULL */
    int64_t loaded_number;
} TorchZip;

static void close_zip(void *format)
{
    TorchZip *z = format;
    zip_archive_close(&z->zip);
    mem_free(z->folder);
    mem_free(z->storages.items);
    mem_free(z->loaded);
    mem_free(z);
}

static const unsigned char *zip_storage(const TensorFile *file, int64_t storage, Error *e)
{
    TorchZip *z = file->format;
    if (z->loaded && z->loaded_number == storage)
        return z->loaded;
    mem_free(z->loaded);
    z->loaded_number = storage;
    z->loaded = zip_archive_read(&z->zip, (int64_t)z->storages.items[storage].place,
                                 (uint64_t)z->storages.items[storage].bytes, e);
    return z->loaded;
}

/* The one entry NAME/data.pkl. */
static bool find_pickle(TorchZip *z, Error *e)
{
    static const char pickle[] = "data.pkl";
    int64_t count = zip_archive_count(&z->zip);
    for (int64_t i = 0; i < count; i++) {
        const char *name = zip_archive_name(&z->zip, i);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash || strcmp(slash + 1, pickle))
            continue;
        if (z->folder)
            return error_set(e, "the zip holds two checkpoints, '%s%s' and '%s'", z->folder, pickle, name);
        z->folder = str_format("%.*s", (int)(slash + 1 - name), name);
        z->pickle = i;
    }
    return z->folder || error_set(e, "a zip file, but no torch checkpoint: it has no NAME/data.pkl");
}

static int64_t find_entry(const TorchZip *z, const char *name, int name_bytes)
{
    char *path = str_format("%s%.*s", z->folder, name_bytes, name);
    int64_t entry = zip_archive_find(&z->zip, path);
    mem_free(path);
    return entry;
}

static bool check_byte_order(const TensorFile *file, Error *e)
{
    const TorchZip *z = file->format;
    uint64_t size;
    int64_t entry = find_entry(z, "byteorder", 9);
    if (entry < 0)
        return true; /* older than torch 2.1 */
    if (!zip_archive_size(&z->zip, entry, &size, e))
        return false;
    if (size != strlen("little"))
        return error_set(e, "the tensors are not stored little-endian");
    unsigned char *order = zip_archive_read(&z->zip, entry, size, e);
    bool little = order && !memcmp(order, "little", size);
    if (order && !little)
        error_set(e, "the tensors are not stored little-endian");
    mem_free(order);
    return little;
}

static bool find_storages(const TensorFile *file, Error *e)
{
    const TorchZip *z = file->format;
    for (size_t i = 0; i < z->storages.count; i++) {
        TorchStorage *storage = &z->storages.items[i];
        uint64_t size;
        char *name = str_format("data/%.*s", (int)storage->key_bytes, storage->key);
        int64_t entry = find_entry(z, name, (int)strlen(name));
        mem_free(name);
        if (entry < 0)
            return error_set(e, "the zip has no entry for storage '%.*s'", (int)storage->key_bytes, storage->key);
        if (!zip_archive_size(&z->zip, entry, &size, e))
            return false;
        if (size != (uint64_t)storage->bytes)
            return error_set(e, "storage '%.*s' has %llu bytes instead of %lld", (int)storage->key_bytes, storage->key,
                             (unsigned long long)size, (long long)storage->bytes);
        storage->place = (uint64_t)entry;
    }
    return true;
}

bool torch_zip_open(TensorFile *file, Error *e)
{
    TorchZip *z = file->format = mem_new(sizeof *z);
    uint64_t size;
    size_t used;
    file->close = close_zip;
    file->storage = zip_storage;
    if (!zip_archive_open(&z->zip, file->map.bytes, file->map.size, e) || !find_pickle(z, e) ||
        !check_byte_order(file, e) || !zip_archive_size(&z->zip, z->pickle, &size, e))
        return false;
    if (find_entry(z, "constants.pkl", 13) >= 0)
        return error_set(e, "a TorchScript program, not a checkpoint: save its state_dict()");
    if (size > MAX_PICKLE_BYTES)
        return error_set(e, "data.pkl has %llu bytes, over the limit of %u", (unsigned long long)size,
                         MAX_PICKLE_BYTES);
    unsigned char *bytes = zip_archive_read(&z->zip, z->pickle, size, e);
    Pickle *pickle = bytes ? torch_pickle_read(bytes, size, &used, e) : NULL;
    bool good = pickle && torch_storages_read(&z->storages, pickle, e) && find_storages(file, e) &&
                torch_tensors_list(file, pickle, &z->storages, e);
    pickle_free(pickle);
    mem_free(bytes);
    return good;
}
