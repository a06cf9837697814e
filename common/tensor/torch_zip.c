/* torch.save since 1.6: an uncompressed zip with one folder: NAME/data.pkl, NAME/byteorder (since 2.1), and each storage
 * as NAME/data/KEY. Others repack it deflated. */
#include "common/tensor/torch_file.h"

#include "common/base/str.h"

#include <string.h>
#include <zip.h>

#define MAX_PICKLE_BYTES (64u << 20)
#define MAX_DEFLATE_RATIO 1032 /* what deflate can reach: a larger claim is false */

typedef struct TorchZip {
    zip_t *zip;
    char *folder;        /* "NAME/" */
    zip_uint64_t pickle; /* the entry of NAME/data.pkl */
    TorchStorages storages;
    unsigned char *loaded; /* the storage that was read last, or NULL */
    int64_t loaded_number;
} TorchZip;

static void close_zip(void *format)
{
    TorchZip *z = format;
    if (z->zip)
        zip_discard(z->zip);
    mem_free(z->folder);
    mem_free(z->storages.items);
    mem_free(z->loaded);
    mem_free(z);
}

/* The size of an entry, once what the directory says of it is believable. */
static bool entry_size(const TensorFile *file, uint64_t entry, uint64_t *size, Error *e)
{
    const TorchZip *z = file->format;
    zip_stat_t st;
    zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(z->zip, entry, 0, &st) < 0 || (st.valid & needed) != needed)
        return error_set(e, "entry %llu of the zip cannot be read", (unsigned long long)entry);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return error_set(e, "'%s' is compressed in another way than deflate", st.name);
    uint64_t most = st.comp_method == ZIP_CM_STORE ? st.comp_size : st.comp_size * MAX_DEFLATE_RATIO + 64;
    if (st.comp_size > file->map.size || st.size > most)
        return error_set(e, "'%s' cannot hold the %llu bytes that the zip's directory claims", st.name,
                         (unsigned long long)st.size);
    *size = st.size;
    return true;
}

/* A whole entry, its checksum verified; free it. */
static unsigned char *read_entry(const TensorFile *file, uint64_t entry, uint64_t size, Error *e)
{
    const TorchZip *z = file->format;
    zip_file_t *in = zip_fopen_index(z->zip, entry, 0);
    if (!in)
        return error_null(e, "'%s': %s", zip_get_name(z->zip, entry, 0), zip_strerror(z->zip));
    unsigned char *bytes = mem_new(size), beyond;
    uint64_t done = 0;
    zip_int64_t n = 1;
    while (done < size && (n = zip_fread(in, bytes + done, size - done)) > 0)
        done += (uint64_t)n;
    if (n > 0 || !size)
        n = zip_fread(in, &beyond, 1); /* the end, where the checksum is compared */
    bool good = done == size && n == 0;
    if (!good)
        error_set(e, "'%s' is damaged: %s", zip_get_name(z->zip, entry, 0),
                  n < 0 ? zip_file_strerror(in) : "its size is not the one that the zip's directory gives");
    zip_fclose(in);
    if (good)
        return bytes;
    mem_free(bytes);
    return NULL;
}

static const unsigned char *zip_storage(const TensorFile *file, int64_t storage, Error *e)
{
    TorchZip *z = file->format;
    if (z->loaded && z->loaded_number == storage)
        return z->loaded;
    mem_free(z->loaded);
    z->loaded_number = storage;
    z->loaded = read_entry(file, z->storages.items[storage].place, (uint64_t)z->storages.items[storage].bytes, e);
    return z->loaded;
}

/* The zip is read out of the map. */
static bool open_zip(TensorFile *file, Error *e)
{
    TorchZip *z = file->format;
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(file->map.bytes, file->map.size, 0, &why);
    z->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    if (!z->zip) {
        error_set(e, "damaged or cut off, not a whole zip file: %s", zip_error_strerror(&why));
        zip_source_free(source);
    }
    zip_error_fini(&why);
    return z->zip;
}

/* The one entry NAME/data.pkl. */
static bool find_pickle(TorchZip *z, Error *e)
{
    static const char pickle[] = "data.pkl";
    zip_int64_t count = zip_get_num_entries(z->zip, 0);
    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash || strcmp(slash + 1, pickle))
            continue;
        if (z->folder)
            return error_set(e, "the zip holds two checkpoints, '%s%s' and '%s'", z->folder, pickle, name);
        z->folder = str_format("%.*s", (int)(slash + 1 - name), name);
        z->pickle = (zip_uint64_t)i;
    }
    return z->folder || error_set(e, "a zip file, but no torch checkpoint: it has no NAME/data.pkl");
}

static zip_int64_t find_entry(const TorchZip *z, const char *name, int name_bytes)
{
    char *path = str_format("%s%.*s", z->folder, name_bytes, name);
    zip_int64_t entry = zip_name_locate(z->zip, path, 0);
    mem_free(path);
    return entry;
}

static bool check_byte_order(const TensorFile *file, Error *e)
{
    const TorchZip *z = file->format;
    uint64_t size;
    zip_int64_t entry = find_entry(z, "byteorder", 9);
    if (entry < 0)
        return true; /* older than torch 2.1 */
    if (!entry_size(file, (uint64_t)entry, &size, e))
        return false;
    if (size != strlen("little"))
        return error_set(e, "the tensors are not stored little-endian");
    unsigned char *order = read_entry(file, (uint64_t)entry, size, e);
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
        zip_int64_t entry = find_entry(z, name, (int)strlen(name));
        mem_free(name);
        if (entry < 0)
            return error_set(e, "the zip has no entry for storage '%.*s'", (int)storage->key_bytes, storage->key);
        if (!entry_size(file, (uint64_t)entry, &size, e))
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
    if (!open_zip(file, e) || !find_pickle(z, e) || !check_byte_order(file, e) ||
        !entry_size(file, z->pickle, &size, e))
        return false;
    if (find_entry(z, "constants.pkl", 13) >= 0)
        return error_set(e, "a TorchScript program, not a checkpoint: save its state_dict()");
    if (size > MAX_PICKLE_BYTES)
        return error_set(e, "data.pkl has %llu bytes, over the limit of %u", (unsigned long long)size,
                         MAX_PICKLE_BYTES);
    unsigned char *bytes = read_entry(file, z->pickle, size, e);
    Pickle *pickle = bytes ? torch_pickle_read(bytes, size, &used, e) : NULL;
    bool good = pickle && torch_storages_read(&z->storages, pickle, e) && find_storages(file, e) &&
                torch_tensors_list(file, pickle, &z->storages, e);
    pickle_free(pickle);
    mem_free(bytes);
    return good;
}
