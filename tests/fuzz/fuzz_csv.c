/* Comma-separated values: every row ends, every field is a string inside the row. */
#include "datasets/csv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    CsvReader csv = {.text = (const char *)bytes, .size = size};
    Error e;
    bool damaged;
    size_t before = 0;
    while (csv_next(&csv, &damaged, &e)) {
        contract(csv.at > before && csv.at <= size && csv_count(&csv) > 0, "a row that takes no bytes");
        before = csv.at;
        for (int i = 0; i < csv_count(&csv); i++)
            contract(csv.starts.items[i] + strlen(csv_field(&csv, i)) < csv.fields.length, "field %d is outside", i);
    }
    contract(damaged || csv.at == size, "bytes left over");
    csv_free(&csv);
    return 0;
}
