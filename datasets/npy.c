#include "datasets/npy.h"

#include <stdio.h>
#include <string.h>

/* The header's text as a string, and where it ends; 0 with a line if the file is none of version 1 to 3, or is cut off. */
static size_t read_header(const uint8_t *bytes, size_t size, char *header, size_t capacity, Error *e)
{
    static const char magic[6] = "\x93NUMPY";
    enum { VERSION_1 = 10, LATER = 12 }; /* where the text begins */
    if (size < LATER || memcmp(bytes, magic, sizeof magic) || bytes[6] < 1 || bytes[6] > 3) {
        error_set(e, "not a .npy file");
        return 0;
    }
    size_t start = bytes[6] == 1 ? VERSION_1 : LATER, length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length >= capacity || length > size - start) {
        error_set(e, "a header of %zu bytes", length);
        return 0;
    }
    memcpy(header, bytes + start, length);
    header[length] = '\0';
    return start + length;
}

bool npy_parse_bytes(const uint8_t *bytes, size_t size, int64_t *rows, int64_t *columns, const uint8_t **elements,
                     Error *e)
{
    char header[1024];
    size_t end = read_header(bytes, size, header, sizeof header, e);
    if (!end)
        return false;
    const char *shape = strstr(header, "'shape':");
    long long r, c;
    if (!shape || sscanf(shape, "'shape': (%18lld, %18lld)", &r, &c) != 2 || r < 0 || c < 1)
        return error_set(e, "the header gives no matrix: %s", header);
    if (!strstr(header, "'descr': '|u1'") || !strstr(header, "'fortran_order': False"))
        return error_set(e, "the header gives no unsigned bytes in C order: %s", header);
    size_t count;
    if (__builtin_mul_overflow((size_t)r, (size_t)c, &count) || count != size - end)
        return error_set(e, "%zu bytes of elements, the shape (%lld, %lld) asks for others", size - end, r, c);
    *rows = r;
    *columns = c;
    *elements = bytes + end;
    return true;
}
