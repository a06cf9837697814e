/* Sequences: every token counts once whatever the windows, and batches are a function of (seed, epoch, step). */
#include "support/tape_test.h"

#include "common/data/sequence_loader.h"
#include "datasets/registry.h"

enum { TOKENS = 997 };

static uint8_t text[TOKENS];

/* Token i of the text is i % 251, so that a place can be told from what stands there. */
static Tokens tokens_of_text(void)
{
    for (int i = 0; i < TOKENS; i++)
        text[i] = (uint8_t)(i % 251);
    return (Tokens){.count = TOKENS, .vocabulary = 256, .bytes = TOKENS, .words = 1, .token_bytes = 1, .ids = text};
}

static void check_windows(TokenRange range, int64_t length, int64_t stride, int ahead)
{
    int seen[TOKENS] = {0};
    int64_t ids[TOKENS], last = -1;
    uint8_t marks[TOKENS];
    Error e;
    Sequences *s = sequences_windows(range, length, stride, ahead, &e);
    assert_non_null(s);
    assert_false(s->fresh);
    for (int64_t i = 0; i < s->count; i++) {
        s->read(s, i, NULL, ids, marks);
        int64_t start = MIN(i * stride, range.count - length), marked = 0;
        assert_true(start > last);
        last = start;
        for (int64_t at = 0; at < length; at++) {
            assert_int_equal(ids[at], (range.first + start + at) % 251);
            assert_true(at >= ahead || marks[at] == MARK_NONE);
            seen[start + at] += marks[at] == MARK_TOKEN;
            marked += marks[at] == MARK_TOKEN;
        }
        assert_true(marked > 0 && (i == 0 || marked <= stride));
    }
    for (int64_t i = 0; i < range.count; i++)
        assert_int_equal(seen[i], i >= ahead);
    sequences_close(s);
}

static void every_token_counts_once(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    for (int ahead = 0; ahead < 2; ahead++)
        for (int64_t length = 7; length < 40; length += 11)
            for (int64_t stride = 1; stride <= length - ahead; stride += 3) {
                check_windows((TokenRange){&tokens, 0, TOKENS}, length, stride, ahead);
                check_windows((TokenRange){&tokens, 100, length}, length, stride, ahead);
                check_windows((TokenRange){&tokens, 13, 2 * length + 1}, length, stride, ahead);
            }
}

static void a_text_may_be_too_short(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    Error e;
    assert_null(sequences_windows((TokenRange){&tokens, 0, 31}, 32, 31, 1, &e));
    assert_string_equal(e.text, "31 tokens of text, fewer than one sequence of 32");
    assert_null(sequences_crops((TokenRange){&tokens, 0, 0}, 32, &e));
    assert_string_equal(e.text, "0 tokens of text, fewer than one sequence of 32");
}

static void crops_begin_anywhere_in_the_range(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    Error e;
    Sequences *s = sequences_crops((TokenRange){&tokens, 50, 20}, 16, &e);
    int found[5] = {0};
    assert_true(s->fresh && s->count == 1);
    for (int64_t place = 0; place < 200; place++) {
        int64_t ids[16];
        uint8_t marks[16];
        Random random = sequence_random(1, 0, place), again = random;
        s->read(s, 0, &random, ids, marks);
        int64_t start = sequences_crop(s, &again);
        assert_in_range(start, 50, 54);
        found[start - 50]++;
        for (int i = 0; i < 16; i++)
            assert_true(ids[i] == start + i && marks[i] == MARK_TOKEN);
    }
    for (int i = 0; i < 5; i++)
        assert_true(found[i] > 10);
    sequences_close(s);
}

static void documents_have_one_length(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    int64_t starts[] = {0, 10, 20, 30, 41}, ids[10];
    uint8_t marks[10];
    Error e;
    tokens.documents = 4;
    tokens.starts = starts;
    Sequences *s = sequences_documents(&tokens, 1, 2, &e);
    assert_true(s->count == 2 && s->length == 10);
    s->read(s, 1, NULL, ids, marks);
    assert_int_equal(ids[3], 23);
    sequences_close(s);
    assert_null(sequences_documents(&tokens, 0, 4, &e));
    assert_string_equal(e.text, "document 3 has 11 tokens, those before it 10");
    assert_null(sequences_documents(&tokens, 4, 0, &e));
}

/* A running hash of everything in the next batches. */
static uint64_t hash_of(SequenceLoader *l, int64_t length, int batches)
{
    uint64_t h = 0;
    for (int i = 0; i < batches; i++) {
        const SequenceBatch *b = sequence_loader_next(l);
        size_t count = (size_t)b->rows * (size_t)length;
        h = bytes_hash(h, &b->epoch, sizeof b->epoch);
        h = bytes_hash(h, &b->step, sizeof b->step);
        h = bytes_hash(h, b->ids, count * sizeof *b->ids);
        h = bytes_hash(h, b->marks, count);
        h = bytes_hash(h, b->indices, (size_t)b->rows * sizeof *b->indices);
    }
    return h;
}

static void neither_threads_nor_a_new_start_show(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    Sequences *kinds[] = {sequences_crops((TokenRange){&tokens, 0, TOKENS}, 16, NULL),
                          sequences_windows((TokenRange){&tokens, 0, TOKENS}, 16, 16, 0, NULL)};
    for (int k = 0; k < COUNT_OF(kinds); k++) {
        uint64_t first = 0;
        for (int threads = 0; threads <= 3; threads++) {
            SequenceLoaderOptions o = {.sequences = kinds[k],
                                       .batch_size = 5,
                                       .shuffle = true,
                                       .drop_last = true,
                                       .seed = 3,
                                       .threads = threads,
                                       .ahead = 1 + threads};
            SequenceLoader *l = sequence_loader_open(&o, NULL);
            assert_int_equal(sequence_loader_steps(l), 12);
            hash_of(l, 16, 17);
            uint64_t h = hash_of(l, 16, 25);
            first = threads ? first : h;
            assert_int_equal(h, first);
            sequence_loader_start(l, 1, 5);
            assert_int_equal(hash_of(l, 16, 25), first);
            sequence_loader_start(l, 1, 6);
            assert_int_not_equal(hash_of(l, 16, 25), first);
            sequence_loader_close(l);
        }
        sequences_close(kinds[k]);
    }
}

/* Each part of a batch is shared by the ranks: together they have its sequences, crops and all, each at its place. */
static void ranks_share_the_parts_of_a_batch(void **state)
{
    (void)state;
    enum { BATCH = 12, PARTS = 2, LENGTH = 16 };
    Tokens tokens = tokens_of_text();
    Sequences *s = sequences_crops((TokenRange){&tokens, 0, TOKENS}, LENGTH, NULL);
    SequenceLoaderOptions o = {
        .sequences = s, .batch_size = BATCH, .shuffle = true, .drop_last = true, .seed = 3, .parts = PARTS};
    int64_t whole[BATCH][LENGTH];
    for (int ranks = 1; ranks <= 3; ranks++) {
        bool made[BATCH] = {false};
        for (o.rank = 0, o.ranks = ranks; o.rank < ranks; o.rank++) {
            SequenceLoader *l = sequence_loader_open(&o, NULL);
            sequence_loader_next(l);
            const SequenceBatch *b = sequence_loader_next(l);
            assert_int_equal(b->rows, BATCH / ranks);
            assert_true((b->place == NULL) == (ranks == 1));
            for (int r = 0; r < b->rows; r++) {
                int share = b->rows / PARTS, part = r / share;
                int64_t at = part * (BATCH / PARTS) + (b->place ? b->place[r] : r % share);
                assert_false(made[at]);
                made[at] = true;
                if (ranks == 1)
                    memcpy(whole[at], b->ids + r * LENGTH, sizeof whole[0]);
                assert_memory_equal(b->ids + r * LENGTH, whole[at], sizeof whole[0]);
            }
            sequence_loader_close(l);
        }
        for (int i = 0; i < BATCH; i++)
            assert_true(made[i]);
    }
    Error e;
    o.rank = 0;
    o.ranks = 5;
    assert_null(sequence_loader_open(&o, &e));
    assert_string_equal(e.text, "train.batch_size is 12, expected a multiple of 10 for 5 ranks and train.accumulate");
    sequences_close(s);
}

static void an_epoch_visits_every_window(void **state)
{
    (void)state;
    Tokens tokens = tokens_of_text();
    Sequences *s = sequences_windows((TokenRange){&tokens, 0, TOKENS}, 16, 16, 0, NULL);
    SequenceLoaderOptions o = {.sequences = s, .batch_size = 5, .shuffle = true, .epochs = 2, .threads = 2};
    SequenceLoader *l = sequence_loader_open(&o, NULL);
    int seen[63] = {0}, in_order = 0;
    assert_int_equal(s->count, 63);
    for (int64_t i = 0; i < 2 * sequence_loader_steps(l); i++) {
        const SequenceBatch *b = sequence_loader_next(l);
        for (int r = 0; r < b->rows; r++)
            seen[b->indices[r]]++;
        in_order += b->indices[0] == 5 * b->step;
    }
    for (int i = 0; i < 63; i++)
        assert_int_equal(seen[i], 2);
    assert_true(in_order < 6);
    sequence_loader_close(l);
    Error e;
    o.batch_size = 64;
    o.drop_last = true;
    assert_null(sequence_loader_open(&o, &e));
    assert_string_equal(e.text, "the data makes 63 sequences, fewer than a batch of 64");
    sequences_close(s);
}

/* ---- The generated task */

/* Each answer is the value that stood behind the key early on, and nowhere else is one marked. */
static void check_recall(const int64_t *ids, const uint8_t *marks, int64_t length, int64_t pairs)
{
    int64_t queries = length - 2 * pairs, answers = 0;
    for (int64_t i = 0; i < length; i++) {
        assert_in_range(ids[i], 1, 191);
        answers += marks[i] == MARK_ANSWER;
    }
    assert_int_equal(answers, pairs);
    for (int64_t q = queries; q < length; q += 2) {
        int64_t at = -1;
        for (int64_t i = 0; i < queries; i++)
            if (ids[i] == ids[q]) {
                assert_int_equal(at, -1);
                at = i;
            }
        assert_true(at >= 0 && at + 1 < MAX(length / 4, 4 * pairs));
        assert_in_range(ids[q], 64, 127);
        assert_in_range(ids[q + 1], 128, 191);
        assert_int_equal(ids[at + 1], ids[q + 1]);
        assert_int_equal(marks[q + 1], MARK_ANSWER);
    }
}

static void recall_asks_for_what_it_told(void **state)
{
    (void)state;
    Error e;
    const DatasetFormat *format = dataset_format("recall", &e);
    const SequenceOptions cases[] = {{512, 16}, {96, 16}, {6, 1}, {384, 64}, {513, 7}};
    for (int c = 0; c < COUNT_OF(cases); c++)
        for (CorpusPart part = 0; part < CORPUS_PARTS; part++) {
            int64_t ids[2][513];
            uint8_t marks[513];
            Sequences *s = format->open_sequences(part, &cases[c], &e);
            assert_true(s->answers && s->fresh == (part == CORPUS_TRAIN));
            for (int64_t i = 0; i < 50; i++) {
                Random random = sequence_random(4, 0, i), other = sequence_random(4, 1, i);
                s->read(s, i, &random, ids[0], marks);
                check_recall(ids[0], marks, cases[c].length, cases[c].pairs);
                s->read(s, i, &other, ids[1], marks);
                bool same = !memcmp(ids[0], ids[1], (size_t)cases[c].length * sizeof ids[0][0]);
                assert_int_equal(same, part != CORPUS_TRAIN);
            }
            sequences_close(s);
        }
    assert_null(format->open_sequences(CORPUS_TEST, &(SequenceOptions){95, 16}, &e));
    assert_string_equal(e.text, "data.length is 95, but 16 pairs and their queries take 96");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_counts_once),
        cmocka_unit_test(a_text_may_be_too_short),
        cmocka_unit_test(crops_begin_anywhere_in_the_range),
        cmocka_unit_test(documents_have_one_length),
        cmocka_unit_test(neither_threads_nor_a_new_start_show),
        cmocka_unit_test(ranks_share_the_parts_of_a_batch),
        cmocka_unit_test(an_epoch_visits_every_window),
        cmocka_unit_test(recall_asks_for_what_it_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
