/* Comma-separated values (RFC 4180): fields may stand in quotes, a quote in them doubled, and may then hold line ends. */
#pragma once
#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/str.h"

/* Reads one row after the other out of a text. */
typedef struct CsvReader {
    const char *text;
    size_t size, at;
    int64_t row; /* rows read so far */
    Str fields;  /* of the last row: each with a NUL behind it */
    ARRAY(size_t) starts;
} CsvReader;

/* The next row; false at the end, or with a line that names the row when a quote is not closed (*damaged is then set). */
bool csv_next(CsvReader *csv, bool *damaged, Error *e);
void csv_free(CsvReader *csv);

static inline int csv_count(const CsvReader *csv)
{
    return (int)csv->starts.count;
}

static inline const char *csv_field(const CsvReader *csv, int i)
{
    return csv->fields.text + csv->starts.items[i];
}
