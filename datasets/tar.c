#include "datasets/tar.h"

#include "common/base/file.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, NAME_AT = 0, SIZE_AT = 124, CHECKSUM_AT = 148, TYPE_AT = 156, MAGIC_AT = 257, PREFIX_AT = 345 };

/* What extended headers said about the member that follows them. */
typedef struct Extended {
    Str name;
    bool has_size;
    size_t size;
} Extended;

/* An octal field, or GNU's base 256 (first bit set). False if it is neither, or does not fit. */
static bool read_number(const uint8_t *field, size_t width, size_t *value)
{
    uint64_t n = 0;
    if (field[0] & 0x80) {
        for (size_t i = 1; i < width; i++) {
            if (n >> 55)
                return false;
            n = n << 8 | field[i];
        }
        *value = n;
        return field[0] == 0x80;
    }
    size_t i = 0;
    while (i < width && field[i] == ' ')
        i++;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++)
        n = n << 3 | (uint64_t)(field[i] - '0');
    *value = n;
    return i == width || field[i] == ' ' || field[i] == '\0';
}

/* The sum of the header's bytes with spaces in place of the sum itself. */
static bool checksum_holds(const uint8_t *header)
{
    size_t sum = 0, stored;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= CHECKSUM_AT && i < CHECKSUM_AT + 8 ? ' ' : header[i];
    return read_number(header + CHECKSUM_AT, 8, &stored) && stored == sum;
}

static bool all_zero(const uint8_t *block)
{
    for (int i = 0; i < BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

/* Records of a pax header: "LENGTH KEY=VALUE\n". What is malformed ends the reading. */
static void read_pax(const uint8_t *bytes, size_t size, Extended *extended)
{
    size_t at = 0;
    while (at < size) {
        size_t length = 0, i = at;
        for (; i < size && bytes[i] >= '0' && bytes[i] <= '9' && length < size; i++)
            length = length * 10 + (size_t)(bytes[i] - '0');
        if (i >= size || bytes[i] != ' ' || length > size - at || length < i + 2 - at)
            return;
        const char *record = (const char *)bytes + i + 1;
        size_t count = at + length - 1 - (i + 1); /* without the newline */
        if (count > 5 && memcmp(record, "path=", 5) == 0) {
            str_clear(&extended->name);
            str_add_bytes(&extended->name, record + 5, count - 5);
        } else if (count > 5 && memcmp(record, "size=", 5) == 0) {
            extended->has_size = true;
            extended->size = 0;
            for (size_t d = 5; d < count && record[d] >= '0' && record[d] <= '9' && extended->size < SIZE_MAX / 16; d++)
                extended->size = extended->size * 10 + (size_t)(record[d] - '0');
        }
        at += length;
    }
}

/* The member's name into `names`, NUL included. */
static size_t add_name(Str *names, const uint8_t *header, const Extended *extended)
{
    size_t start = names->length;
    const char *prefix = (const char *)header + PREFIX_AT, *name = (const char *)header + NAME_AT;
    if (extended->name.length)
        str_add(names, "%s", extended->name.text);
    else if (memcmp(header + MAGIC_AT, "ustar", 6) == 0 && *prefix)
        str_add(names, "%.155s/%.100s", prefix, name);
    else
        str_add(names, "%.100s", name);
    str_add_bytes(names, "", 1);
    while (names->text[start] == '.' && names->text[start + 1] == '/')
        start += 2;
    return start;
}

static void add_member(TarIndex *index, const uint8_t *header, const Extended *extended, size_t offset, size_t size)
{
    uint8_t type = header[TYPE_AT];
    if (type != '0' && type != '\0' && type != '7')
        return;
    size_t name = add_name(&index->names, header, extended);
    *array_add(&index->members) = (TarMember){.name = name, .offset = offset, .size = size};
}

static bool index_members(const uint8_t *bytes, size_t size, TarIndex *index, Extended *extended, Error *e)
{
    for (size_t at = 0; at + BLOCK <= size && !all_zero(bytes + at);) {
        const uint8_t *header = bytes + at;
        size_t length;
        if (!checksum_holds(header) || !read_number(header + SIZE_AT, 12, &length))
            return error_set(e, "not a tar archive: the header at byte %zu is damaged", at);
        uint8_t type = header[TYPE_AT];
        bool describes = type == 'x' || type == 'L' || type == 'g' || type == 'K';
        if (extended->has_size && !describes)
            length = extended->size;
        at += BLOCK;
        if (length > size - at)
            return error_set(e, "the archive ends inside the member at byte %zu, which has %zu bytes", at, length);
        if (type == 'x') {
            read_pax(bytes + at, length, extended);
        } else if (type == 'L') {
            str_clear(&extended->name);
            str_add_bytes(&extended->name, bytes + at, length);
        } else if (!describes) {
            add_member(index, header, extended, at, length);
            str_clear(&extended->name);
            extended->has_size = false;
        }
        size_t padded = (length + BLOCK - 1) / BLOCK * BLOCK;
        at += MIN(padded, size - at);
    }
    return true;
}

bool tar_index(const uint8_t *bytes, size_t size, TarIndex *index, Error *e)
{
    *index = (TarIndex){0};
    if (size < BLOCK)
        return error_set(e, "not a tar archive: %zu bytes", size);
    Extended extended = {0};
    bool good = index_members(bytes, size, index, &extended, e);
    str_free(&extended.name);
    if (!good)
        tar_index_free(index);
    return good;
}

void tar_index_free(TarIndex *index)
{
    array_free(&index->members);
    str_free(&index->names);
}

const TarMember *tar_find(const TarIndex *index, const char *base_name)
{
    for (size_t i = 0; i < index->members.count; i++)
        if (strcmp(path_base(tar_name(index, &index->members.items[i])), base_name) == 0)
            return &index->members.items[i];
    return NULL;
}
