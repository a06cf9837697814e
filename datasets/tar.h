/* The members of a tar archive (ustar, GNU long names, pax) that lies in memory. */
#pragma once
#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include <stdint.h>

typedef struct TarMember {
    size_t name;         /* tar_name() */
    size_t offset, size; /* of its bytes in the archive */
} TarMember;

typedef struct TarIndex {
    ARRAY(TarMember) members; /* regular files, in the archive's order */
    Str names;
} TarIndex;

/* Lists the regular files; a leading "./" is dropped. False with a line (without the archive's name) on a header whose
 * checksum is wrong or a member that ends behind the archive. */
bool tar_index(const uint8_t *bytes, size_t size, TarIndex *index, Error *e);
void tar_index_free(TarIndex *index);

static inline const char *tar_name(const TarIndex *index, const TarMember *member)
{
    return index->names.text + member->name;
}

/* The member whose name after its last '/' is this, or NULL. */
const TarMember *tar_find(const TarIndex *index, const char *base_name);
