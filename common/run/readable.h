/* Numbers as people read them: for progress lines and reports, never for files that are read again. */
#pragma once
#include <stdint.h>

typedef struct Readable {
    char text[32];
} Readable;

Readable readable_seconds(double seconds); /* "48 s", "4 min 12 s", "1 h 02 min", "3 d 04 h" */
Readable readable_count(int64_t count);    /* "12,431" */
Readable readable_bytes(double bytes);     /* "7.7 GiB" */
