/* The workload as a user meets it: the tiny model trained, killed, resumed, evaluated and sampled by commands, each in a child
 * process in a folder of its own. */
#include "hosts/tiny_language_model.h"

#include <fcntl.h>
#include <math.h>
#include <time.h>

enum { LINES = 600, MOST_WORDS = 24 };

/* ---- Commands */

static int make_folder(void **state)
{
    if (scratch_make(state))
        return -1;
    char *configs = path_join(*state, "models/tiny/configs"), *text = path_join(*state, "text.txt");
    Error e;
    Str lines = {0};
    Random random = random_at(1, STREAM_DATA, 1, 1);
    for (int i = 0; i < LINES; i++)
        str_add(&lines, "line %d: %s\n", (int)random_integer(&random, 10),
                (const char *[]){"the cat sat", "a dog ran", "birds sing"}[random_integer(&random, 3)]);
    bool good = folder_make(configs, &e) && file_write(text, lines.text, lines.length, &e);
    char *config = path_join(configs, "default.yaml");
    str_clear(&lines);
    str_add(&lines,
            "data: {path: %s}\n"
            "train: {steps: 40, batch_size: 8, lr: 0.01, weight_decay: 0, sample_length: 20}\n",
            text);
    good = good && file_write(config, lines.text, lines.length, &e);
    str_free(&lines);
    free(configs);
    free(config);
    free(text);
    return good ? 0 : -1;
}

/* Starts `train ...` or `eval ...`: words, "" ends. The output goes to the files out and err. */
static pid_t start(const char *folder, const Model *model, const char *const *words)
{
    fflush(NULL);
    pid_t child = fork();
    if (child)
        return child;
    char *argv[MOST_WORDS] = {"tiny"};
    int argc = 1;
    for (; argc < MOST_WORDS && words[argc - 1][0]; argc++)
        argv[argc] = (char *)words[argc - 1];
    if (chdir(folder) || !freopen("out", "w", stdout) || !freopen("err", "w", stderr))
        _exit(99);
    setenv("XDG_CACHE_HOME", folder, 1);
    int code = model_main(model, ".", argc, argv);
    fflush(NULL);
    _exit(code);
}

static int end_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static char *text_of(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    Error e;
    char *text = file_read(path, NULL, &e);
    if (!text)
        fail_msg("%s", e.text);
    free(path);
    return text;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, ""})

static void run_model(const char *folder, const Model *model, int expected, const char *const *words)
{
    int code = end_of(start(folder, model, words));
    if (code == expected)
        return;
    fail_msg("%s %s: exit %d, not %d: %s %s", words[0], words[1], code, expected, text_of(folder, "err"), text_of(folder, "out"));
}

static void run(const char *folder, const char *const *words)
{
    run_model(folder, &tiny_model, 0, words);
}

/* Exit 2 and one line that contains `line`. */
static void refuse(const char *folder, const char *line, const char *const *words)
{
    run_model(folder, &tiny_model, 2, words);
    char *err = text_of(folder, "err");
    if (!strstr(err, line) || strchr(err, '\n') != err + strlen(err) - 1)
        fail_msg("expected \"%s\", got: %s", line, err);
    free(err);
}

/* The number that follows `name` in a file; the last one. */
static double number_in(const char *folder, const char *file, const char *name)
{
    char *text = text_of(folder, file), *at = NULL;
    for (char *next = text; (next = strstr(next, name)); next++)
        at = next;
    if (!at)
        fail_msg("no %s in %s", name, text);
    double value = strtod(at + strlen(name), NULL);
    free(text);
    return value;
}

static void assert_same_file(const char *folder, const char *one, const char *other)
{
    char *a = text_of(folder, one), *b = text_of(folder, other);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

/* The bytes of a checkpoint's tensors. */
static void assert_same_weights(const char *folder, const char *one, const char *other)
{
    const char *const runs[] = {one, other};
    uint64_t hashes[2] = {0};
    for (int i = 0; i < 2; i++) {
        char *path = str_format("%s/runs/tiny/%s/checkpoints/last/model.safetensors", folder, runs[i]);
        Error e;
        TensorFile *file = tensor_file_open(path, &e);
        assert_non_null(file);
        for (const char *const *name =
                 (const char *const[]){"tokens", "positions", "q.weight", "head.weight", "steps", NULL};
             *name; name++) {
            const FileTensor *x = tensor_file_find(file, *name);
            float *values = mem_new((size_t)x->count * sizeof *values);
            assert_true(tensor_file_read(file, x, F32, values, &e));
            hashes[i] = bytes_hash(hashes[i], values, (size_t)x->count * sizeof *values);
            mem_free(values);
        }
        tensor_file_close(file);
        free(path);
    }
    assert_true(hashes[0] == hashes[1]);
}

/* ---- Tests */

static void a_run_leaves_what_it_should(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train"));
    const char *const files[] = {"config.yaml",          "metrics.csv", "log.txt",
                                 "report.html",          "result.yaml", "samples/000000004.txt",
                                 "samples/000000040.txt"};
    for (int i = 0; i < COUNT_OF(files); i++) {
        char *name = str_format("runs/tiny/default/%s", files[i]), *text = text_of(folder, name);
        assert_true(strlen(text) > 10);
        free(text);
        free(name);
    }
    char *metrics = text_of(folder, "runs/tiny/default/metrics.csv");
    assert_true(str_starts(metrics, "step,epoch,lr,train_loss,train_bits_per_byte,val_loss,val_bits_per_byte,"
                                    "val_word_perplexity\n"));
    free(metrics);
    double bits = number_in(folder, "runs/tiny/default/result.yaml", "\nbits_per_byte: ");
    assert_true(bits > 1 && bits < 5); /* 8 and more at first */
    double loss = number_in(folder, "runs/tiny/default/result.yaml", "loss: ");
    assert_true(fabs(loss / M_LN2 - bits) < 1e-6);
    assert_true(number_in(folder, "runs/tiny/default/result.yaml", "ngram_all_bits_per_byte: ") < 2);
    /* before_training put 8 into the buffer, every step added one */
    char *out = text_of(folder, "out");
    assert_non_null(strstr(out, "step 40/40  loss"));
    assert_non_null(strstr(out, "tokens/s"));
    assert_non_null(strstr(out, "sample after 40 steps:\n"));
    free(out);
    run(folder, WORDS("eval", "runs/tiny/default"));
    assert_true(fabs(number_in(folder, "out", "bits_per_byte ") - bits) < 1e-4);
    /* more context for the same tokens, each counted once */
    run(folder, WORDS("eval", "runs/tiny/default", "eval.stride=3", "eval.batch_size=7"));
    char *text = text_of(folder, "out");
    assert_non_null(strstr(text, " tokens, "));
    free(text);
}

static void threads_change_nothing(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "name=one", "threads=1", "data.threads=0", "model.dropout=0.1"));
    run(folder, WORDS("train", "name=two", "threads=2", "data.threads=2", "model.dropout=0.1"));
    assert_same_weights(folder, "one", "two");
    assert_same_file(folder, "runs/tiny/one/metrics.csv", "runs/tiny/two/metrics.csv");
}

/* Parts of a batch are the batch, up to the rounding of sums. */
static void accumulated_parts_are_the_batch(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "name=whole"));
    run(folder, WORDS("train", "name=parts", "train.accumulate=4"));
    double whole = number_in(folder, "runs/tiny/whole/result.yaml", "loss: "),
           parts = number_in(folder, "runs/tiny/parts/result.yaml", "loss: ");
    assert_true(fabs(whole - parts) < 1e-3);
}

static void killed_and_resumed_it_ends_in_the_same_bits(void **state)
{
    const char *folder = *state;
    const char *const options[] = {"model.shifts=yes",    "model.dropout=0.1", "train.accumulate=2",
                                   "train.clip_norm=0.5", "train.steps=300",   "train.validate_every=140"};
    const char *words[] = {"train",    options[0], options[1],   options[2],          options[3],
                           options[4], options[5], "name=whole", "save_seconds=1000", ""};
    run(folder, words);
    words[7] = "name=killed";
    words[8] = "save_seconds=0.00001";
    pid_t child = start(folder, &tiny_model, words);
    char *last = path_join(folder, "runs/tiny/killed/checkpoints/last/model.safetensors");
    for (int i = 0; i < 20000 && !file_exists(last); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    kill(child, SIGKILL);
    assert_int_equal(end_of(child), -SIGKILL);
    free(last);
    run(folder, WORDS("train", "--resume"));
    assert_same_weights(folder, "whole", "killed");
    assert_same_file(folder, "runs/tiny/whole/metrics.csv", "runs/tiny/killed/metrics.csv");
    assert_same_file(folder, "runs/tiny/whole/result.yaml", "runs/tiny/killed/result.yaml");
    assert_same_file(folder, "runs/tiny/whole/samples/000000300.txt", "runs/tiny/killed/samples/000000300.txt");
}

static void answers_are_counted(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "data.set=recall", "data.path=null", "data.pairs=2", "train.loss=answers",
                      "model.vocabulary=192", "train.steps=20"));
    char *metrics = text_of(folder, "runs/tiny/default/metrics.csv");
    assert_true(str_starts(metrics, "step,epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"));
    free(metrics);
    run(folder, WORDS("eval", "runs/tiny/default"));
    double accuracy = number_in(folder, "out", "accuracy ");
    assert_true(accuracy >= 0 && accuracy < 0.2);
    assert_true(fabs(number_in(folder, "runs/tiny/default/result.yaml", "accuracy: ") / 100 - accuracy) < 1e-4);
    refuse(folder, "data set recall is no text", WORDS("eval", "runs/tiny/default", "--generate", "x"));
}

/* Every byte of an image is a token, and predicted if the model shifts. */
static void images_are_bytes(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "data.set=shapes", "data.path=null", "data.limit_train=5", "data.limit_valid=3",
                      "data.limit_test=5", "model.window=1728", "model.shifts=yes", "model.width=4", "model.heads=1",
                      "train.steps=0", "train.epochs=2", "train.batch_size=2", "eval.batch_size=2"));
    double loss = number_in(folder, "runs/tiny/default/result.yaml", "loss: "),
           bits = number_in(folder, "runs/tiny/default/result.yaml", "bits_per_dim: ");
    assert_true(bits > 4 && bits < 12 && fabs(loss / M_LN2 - bits) < 1e-6);
    char *out = text_of(folder, "out");
    assert_non_null(strstr(out, "step 2/4   val_loss")); /* a pass is two batches, the fifth image is left out */
    assert_non_null(strstr(out, "step 4/4   val_loss"));
    assert_non_null(strstr(out, "(8,640 tokens, "));
    free(out);
}

static void losses_are_written(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "train.steps=2"));
    run(folder, WORDS("eval", "runs/tiny/default", "--features", "losses.safetensors", "eval.stride=20"));
    double loss = number_in(folder, "out", "loss ");
    char *path = path_join(folder, "losses.safetensors");
    Error e;
    TensorFile *file = tensor_file_open(path, &e);
    const FileTensor *x = tensor_file_find(file, "losses");
    assert_true(x->rank == 2 && x->shape[1] == 32);
    float *values = mem_new((size_t)x->count * sizeof *values);
    assert_true(tensor_file_read(file, x, F32, values, &e));
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < x->count; i++)
        if (!isnan(values[i])) {
            sum += values[i];
            count++;
        }
    assert_true(fabs(sum / (double)count - loss) < 1e-4);
    mem_free(values);
    tensor_file_close(file);
    free(path);
}

static void text_is_generated(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train"));
    run(folder, WORDS("eval", "runs/tiny/default", "--generate", "line 3", "eval.length=60", "eval.top_k=1"));
    char *first = text_of(folder, "out");
    assert_true(str_starts(first, "line 3") && strlen(first) == 6 + 60 + 1);
    run(folder, WORDS("eval", "runs/tiny/default", "--generate", "line 3", "eval.length=60", "eval.temperature=0"));
    char *again = text_of(folder, "out");
    assert_string_equal(first, again);
    free(first);
    free(again);
    refuse(folder, "--generate needs a value", WORDS("eval", "runs/tiny/default", "--generate="));
}

/* A run keeps the ids that it learned: of another text, and without the first one, it makes the same. */
static void learned_ids_stay_with_the_run(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "data.tokenizer=words", "model.vocabulary=40", "train.sample_prompt=line"));
    const char *const names[] = {"perplexity: ", "word_perplexity: ", "bits_per_byte: "};
    double values[3];
    for (int i = 0; i < 3; i++)
        values[i] = number_in(folder, "runs/tiny/default/result.yaml", names[i]);
    assert_true(values[1] > 1 && values[1] < 15 && values[2] > 0);
    char *other = path_join(folder, "other.txt"), *path = str_format("data.path=%s", other);
    Str lines = {0};
    for (int i = 0; i < 500; i++)
        str_add(&lines, "sing sing birds sing ran dog\n");
    write_text(other, lines.text);
    str_free(&lines);
    run(folder, WORDS("eval", "runs/tiny/default", path));
    assert_true(number_in(folder, "out", " perplexity ") > 1.5);
    unlink(other);
    run(folder, WORDS("eval", "runs/tiny/default/checkpoints/last", path, "--generate", "a dog", "eval.length=5"));
    char *out = text_of(folder, "out");
    assert_true(str_starts(out, "a dog"));
    free(out);
    free(other);
    free(path);
}

static void a_dry_run_writes_nothing(void **state)
{
    const char *folder = *state;
    run(folder, WORDS("train", "--dry-run"));
    char *runs = path_join(folder, "runs");
    assert_false(folder_exists(runs));
    free(runs);
    char *out = text_of(folder, "out");
    assert_non_null(strstr(out, "clip_norm"));
    free(out);
}

static void wrong_input_is_one_line(void **state)
{
    const char *folder = *state;
    char *empty = path_join(folder, "empty.txt"), *path = str_format("data.path=%s", empty);
    write_text(empty, "");
    refuse(folder, "holds no text", WORDS("train", path));
    write_text(empty, "twenty-five letters, more");
    refuse(folder, "fewer than one sequence of 33", WORDS("train", path));
    free(empty);
    free(path);
    refuse(folder, "model.vocabulary is 100, but the ids of data.set text (tokenizer bytes) go up to 255",
           WORDS("train", "model.vocabulary=100"));
    refuse(folder, "model.window is 32", WORDS("train", "data.length=33"));
    refuse(folder, "sequences of 32 tokens (data.length), but the model reads 32 before it predicts one",
           WORDS("train", "model.given=32"));
    refuse(folder,
           "train.sample_prompt: the prompt has 3 tokens, but the model reads 3 before it goes on with the next",
           WORDS("train", "model.given=3", "train.sample_prompt=abc"));
    refuse(folder, "expected a multiple of the model's block of 5", WORDS("train", "model.block=5"));
    refuse(folder, "not divisible by the 3 parts of train.accumulate", WORDS("train", "train.accumulate=3"));
    refuse(folder, "schedule rsqrt needs at least 1 step", WORDS("train", "train.schedule=rsqrt"));
    refuse(folder, "did you mean 'text'", WORDS("train", "data.set=txt"));
    refuse(folder, "sequences of 1727 tokens", WORDS("train", "data.set=shapes", "data.path=null"));
    refuse(folder, "train.sample_prompt", WORDS("train", "train.sample_prompt=\"\""));
    run(folder, WORDS("train", "name=whole", "train.steps=1"));
    refuse(folder, "tokens", WORDS("eval", "runs/tiny/whole", "model.vocabulary=300"));
}

int main(void)
{
#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, scratch_remove)
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(a_run_leaves_what_it_should),
        FOLDER_TEST(threads_change_nothing),
        FOLDER_TEST(accumulated_parts_are_the_batch),
        FOLDER_TEST(killed_and_resumed_it_ends_in_the_same_bits),
        FOLDER_TEST(answers_are_counted),
        FOLDER_TEST(images_are_bytes),
        FOLDER_TEST(losses_are_written),
        FOLDER_TEST(text_is_generated),
        FOLDER_TEST(learned_ids_stay_with_the_run),
        FOLDER_TEST(a_dry_run_writes_nothing),
        FOLDER_TEST(wrong_input_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
