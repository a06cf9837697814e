#include "datasets/gzip.h"

#include "common/base/memory.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

/* zlib's gzread hands on a truncated stream as a short read without an error; gzclose_r tells. */
static uint8_t *read_all(gzFile file, const char *path, size_t limit, size_t *size, Error *e)
{
    size_t capacity = 1 << 20, count = 0;
    uint8_t *bytes = mem_new(capacity);
    for (;;) {
        int n = gzread(file, bytes + count, (unsigned)MIN(capacity - count, (size_t)1 << 30));
        if (n < 0) {
            int code;
            error_set(e, "%s: not readable: %s", path, gzerror(file, &code));
            break;
        }
        count += (size_t)n;
        if (n == 0) {
            *size = count;
            return bytes;
        }
        if (count > limit) {
            error_set(e, "%s: more than %zu bytes when unpacked", path, limit);
            break;
        }
        if (count == capacity)
            bytes = mem_resize(bytes, capacity *= 2);
    }
    mem_free(bytes);
    return NULL;
}

uint8_t *gzip_read(const char *path, size_t limit, size_t *size, Error *e)
{
    gzFile file = gzopen(path, "rb");
    if (!file)
        return error_null(e, "%s: %s", path, strerror(errno ? errno : ENOMEM));
    gzbuffer(file, 1 << 17);
    uint8_t *bytes = read_all(file, path, limit, size, e);
    int closed = gzclose_r(file);
    if (bytes && closed != Z_OK) {
        mem_free(bytes);
        return error_null(e, "%s: the compressed data ends early", path);
    }
    return bytes;
}
