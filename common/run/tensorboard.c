#include "common/run/tensorboard.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/run/append.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

struct EventFile {
    AppendFile *file;
};

/* One bit at a time: a record has some fifty bytes, and a table would be longer than this. */
uint32_t crc32c(const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* TFRecord rotates and adds: the CRC of a string that holds CRCs is weak (tensorflow/core/lib/hash/crc32c.h). */
static uint32_t masked_crc(const void *bytes, size_t count)
{
    uint32_t crc = crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Little endian, whatever the machine is. */
static void add_fixed(Str *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        str_add_bytes(s, &byte, 1);
    }
}

static void add_varint(Str *s, uint64_t value)
{
    while (value >= 0x80) {
        add_fixed(s, (value & 0x7f) | 0x80, 1);
        value >>= 7;
    }
    add_fixed(s, value, 1);
}

/* Protobuf: a field's key is its number and the wire type of its value. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void add_key(Str *s, int field, int wire_type)
{
    add_varint(s, (uint64_t)(field << 3 | wire_type));
}

static void add_bytes_field(Str *s, int field, const void *bytes, size_t count)
{
    add_key(s, field, BYTES);
    add_varint(s, count);
    str_add_bytes(s, bytes, count);
}

static bool write_record(EventFile *f, const Str *data, Error *e)
{
    Str record = {0};
    add_fixed(&record, data->length, 8);
    add_fixed(&record, masked_crc(record.text, 8), 4);
    str_add_bytes(&record, data->text, data->length);
    add_fixed(&record, masked_crc(data->text, data->length), 4);
    bool good = append_write(f->file, record.text, record.length, e);
    str_free(&record);
    return good;
}

/* Event {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
 *        SessionLog session_log = 7} with one of the last three. */
enum { WALL_TIME = 1, STEP = 2, FILE_VERSION = 3, SUMMARY = 5, SESSION_LOG = 7 };

static bool write_event(EventFile *f, int64_t step, int field, const void *bytes, size_t count, Error *e)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    Str event = {0};
    add_key(&event, WALL_TIME, FIXED64);
    add_fixed(&event, bits, 8);
    add_key(&event, STEP, VARINT);
    add_varint(&event, (uint64_t)step);
    add_bytes_field(&event, field, bytes, count);
    bool good = write_record(f, &event, e);
    str_free(&event);
    return good;
}

static AppendFile *new_file(const char *folder, Error *e)
{
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    AppendFile *file = NULL;
    bool taken = true;
    for (int n = 0; !file && taken; n++) {
        char *path = str_format("%s/events.out.tfevents.%010lld.%s.%ld.%d", folder, (long long)time(NULL), host,
                                (long)getpid(), n);
        file = append_open(path, true, e);
        taken = !file && file_exists(path);
        mem_free(path);
    }
    return file;
}

EventFile *events_open(const char *folder, int64_t first_step, Error *e)
{
    static const char version[] = "brain.Event:2";
    static const unsigned char start[] = {1 << 3 | VARINT, 1}; /* SessionLog {status = START} */
    AppendFile *file = new_file(folder, e);
    if (!file)
        return NULL;
    EventFile *f = mem_new(sizeof *f);
    f->file = file;
    if (write_event(f, 0, FILE_VERSION, version, sizeof version - 1, e) &&
        (first_step <= 0 || write_event(f, first_step, SESSION_LOG, start, sizeof start, e)))
        return f;
    events_close(f);
    return NULL;
}

/* Summary {repeated Value value = 1}, Value {string tag = 1; float simple_value = 2}. */
bool events_scalar(EventFile *f, const char *tag, int64_t step, double value, Error *e)
{
    float number = (float)value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    Str scalar = {0}, summary = {0};
    add_bytes_field(&scalar, 1, tag, strlen(tag));
    add_key(&scalar, 2, FIXED32);
    add_fixed(&scalar, bits, 4);
    add_bytes_field(&summary, 1, scalar.text, scalar.length);
    bool good = write_event(f, step, SUMMARY, summary.text, summary.length, e);
    str_free(&scalar);
    str_free(&summary);
    return good;
}

void events_close(EventFile *f)
{
    if (!f)
        return;
    append_close(f->file);
    mem_free(f);
}
