#include "datasets/csv.h"

/* A field in quotes, from behind the opening one. False: it does not end. */
static bool add_quoted(CsvReader *csv)
{
    while (csv->at < csv->size) {
        char c = csv->text[csv->at++];
        if (c == '"' && !(csv->at < csv->size && csv->text[csv->at] == '"'))
            return true;
        csv->at += c == '"'; /* the second of two */
        str_add_bytes(&csv->fields, &c, 1);
    }
    return false;
}

/* A field up to its comma or the row's end. */
static bool add_field(CsvReader *csv)
{
    *array_add(&csv->starts) = csv->fields.length;
    while (csv->at < csv->size) {
        char c = csv->text[csv->at];
        if (c == ',' || c == '\n')
            break;
        csv->at++;
        if (c == '"') {
            if (!add_quoted(csv))
                return false;
        } else if (!(c == '\r' && csv->at < csv->size && csv->text[csv->at] == '\n')) {
            str_add_bytes(&csv->fields, &c, 1);
        }
    }
    str_add_bytes(&csv->fields, "", 1);
    return true;
}

bool csv_next(CsvReader *csv, bool *damaged, Error *e)
{
    str_clear(&csv->fields);
    csv->starts.count = 0;
    *damaged = false;
    if (csv->at >= csv->size)
        return false;
    csv->row++;
    for (;;) {
        if (!add_field(csv)) {
            *damaged = true;
            return error_set(e, "row %lld: a quote is not closed", (long long)csv->row);
        }
        if (csv->at >= csv->size || csv->text[csv->at++] == '\n')
            return true;
    }
}

void csv_free(CsvReader *csv)
{
    str_free(&csv->fields);
    array_free(&csv->starts);
}
