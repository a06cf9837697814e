#include "common/tensor/zip_archive.h"

#include "common/base/memory.h"

#include <zip.h>

#define MAX_DEFLATE_RATIO 1032 /* what deflate can reach: a larger claim is false */

bool zip_archive_open(ZipArchive *archive, const void *bytes, size_t size, Error *e)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(bytes, size, 0, &why);
    *archive = (ZipArchive){.zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL, .size = size};
    if (!archive->zip) {
        error_set(e, "damaged or cut off, not a whole zip file: %s", zip_error_strerror(&why));
        zip_source_free(source);
    }
    zip_error_fini(&why);
    return archive->zip;
}

void zip_archive_close(ZipArchive *archive)
{
    if (archive->zip)
        zip_discard(archive->zip);
    archive->zip = NULL;
}

int64_t zip_archive_count(const ZipArchive *archive)
{
    return zip_get_num_entries(archive->zip, 0);
}

const char *zip_archive_name(const ZipArchive *archive, int64_t entry)
{
    return zip_get_name(archive->zip, (zip_uint64_t)entry, 0);
}

int64_t zip_archive_find(const ZipArchive *archive, const char *name)
{
    return zip_name_locate(archive->zip, name, 0);
}

bool zip_archive_size(const ZipArchive *archive, int64_t entry, uint64_t *size, Error *e)
{
    zip_stat_t st;
    zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(archive->zip, (zip_uint64_t)entry, 0, &st) < 0 || (st.valid & needed) != needed)
        return error_set(e, "entry %lld of the zip cannot be read", (long long)entry);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return error_set(e, "'%s' is compressed in another way than deflate", st.name);
    uint64_t most = st.comp_method == ZIP_CM_STORE ? st.comp_size : st.comp_size * MAX_DEFLATE_RATIO + 64;
    if (st.comp_size > archive->size || st.size > most)
        return error_set(e, "'%s' cannot hold the %llu bytes that the zip's directory claims", st.name,
                         (unsigned long long)st.size);
    *size = st.size;
    return true;
}

unsigned char *zip_archive_read(const ZipArchive *archive, int64_t entry, uint64_t size, Error *e)
{
    zip_file_t *in = zip_fopen_index(archive->zip, (zip_uint64_t)entry, 0);
    if (!in)
        return error_null(e, "'%s': %s", zip_archive_name(archive, entry), zip_strerror(archive->zip));
    unsigned char *bytes = mem_new(size + 1), beyond;
    uint64_t done = 0;
    zip_int64_t n = 1;
    while (done < size && (n = zip_fread(in, bytes + done, size - done)) > 0)
        done += (uint64_t)n;
    if (n > 0 || !size)
        n = zip_fread(in, &beyond, 1); /* the end, where the checksum is compared */
    bool good = done == size && n == 0;
    if (!good)
        error_set(e, "'%s' is damaged: %s", zip_archive_name(archive, entry),
                  n < 0 ? zip_file_strerror(in) : "its size is not the one that the zip's directory gives");
    zip_fclose(in);
    if (good)
        return bytes;
    mem_free(bytes);
    return NULL;
}
