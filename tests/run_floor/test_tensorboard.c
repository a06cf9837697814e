#include "run_floor/scratch.h"
#include "common/run/append.h"
#include "common/run/tensorboard.h"

static void crc_has_its_published_values(void **state)
{
    (void)state;
    /* RFC 3720, B.4, and the check value of CRC-32C */
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c(bytes, 32), 0x46dd794e);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(crc32c("", 0), 0);
}

static uint64_t fixed(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static uint32_t masked(const unsigned char *p, size_t count)
{
    uint32_t crc = crc32c(p, count);
    return (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u);
}

/* Takes one record off and checks its frame; the event's wall time (9 bytes) is skipped. */
static const unsigned char *next_event(const unsigned char **at, const unsigned char *end, size_t *length)
{
    assert_true(end - *at >= 12);
    size_t size = fixed(*at, 8);
    assert_int_equal(fixed(*at + 8, 4), masked(*at, 8));
    const unsigned char *data = *at + 12;
    assert_true((size_t)(end - data) >= size + 4);
    assert_int_equal(fixed(data + size, 4), masked(data, size));
    *at = data + size + 4;
    assert_int_equal(data[0], 0x09); /* field 1, 64 bits */
    *length = size - 9;
    return data + 9;
}

static char *only_file(const char *folder, size_t *size)
{
    Error e;
    char **names;
    int count;
    assert_true(folder_list(folder, &names, &count, &e));
    assert_int_equal(count, 1);
    assert_non_null(strstr(names[0], "tfevents"));
    char *path = path_join(folder, names[0]), *bytes = file_read(path, size, &e);
    assert_non_null(bytes);
    mem_free(path);
    names_free(names, count);
    return bytes;
}

#define assert_event(at, end, ...)                                                                                     \
    do {                                                                                                               \
        const unsigned char expected[] = {__VA_ARGS__};                                                                \
        size_t length;                                                                                                 \
        const unsigned char *event = next_event(at, end, &length);                                                     \
        assert_int_equal(length, sizeof expected);                                                                     \
        assert_memory_equal(event, expected, sizeof expected);                                                         \
    } while (0)

static void events_have_these_bytes(void **state)
{
    Error e;
    EventFile *f = events_open(*state, 300, &e);
    assert_non_null(f);
    assert_true(events_scalar(f, "loss", 300, 1.5, &e));
    events_close(f);

    size_t size;
    char *bytes = only_file(*state, &size);
    const unsigned char *at = (unsigned char *)bytes, *end = at + size;
    /* step 0, file_version "brain.Event:2" */
    assert_event(&at, end, 0x10, 0, 0x1a, 13, 'b', 'r', 'a', 'i', 'n', '.', 'E', 'v', 'e', 'n', 't', ':', '2');
    /* step 300 (as a varint), session_log {status: START} */
    assert_event(&at, end, 0x10, 0xac, 0x02, 0x3a, 2, 0x08, 1);
    /* step 300, summary {value {tag: "loss" simple_value: 1.5}} */
    assert_event(&at, end, 0x10, 0xac, 0x02, 0x2a, 13, 0x0a, 11, 0x0a, 4, 'l', 'o', 's', 's', 0x15, 0, 0, 0xc0, 0x3f);
    assert_ptr_equal(at, end);
    mem_free(bytes);
}

static void each_open_makes_a_new_file(void **state)
{
    Error e;
    char **names;
    int count;
    for (int i = 0; i < 3; i++) {
        EventFile *f = events_open(*state, 0, &e);
        assert_non_null(f);
        events_close(f);
    }
    assert_true(folder_list(*state, &names, &count, &e));
    assert_int_equal(count, 3);
    names_free(names, count);
    char *missing = path_join(*state, "missing");
    assert_null(events_open(missing, 0, &e));
    assert_non_null(strstr(e.text, missing));
    mem_free(missing);
}

static void a_full_disk_is_one_line(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK))
        skip();
    Error e;
    AppendFile *f = append_open("/dev/full", false, &e);
    assert_non_null(f);
    assert_false(append_write(f, "row\n", 4, &e));
    assert_string_equal(e.text, "/dev/full: cannot be appended to: No space left on device");
    append_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_has_its_published_values),
        SCRATCH_TEST(events_have_these_bytes),
        SCRATCH_TEST(each_open_makes_a_new_file),
        cmocka_unit_test(a_full_disk_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
