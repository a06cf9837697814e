/* The sections of a language model's config. */
#include "common/hosts/language_model/language_model.h"

static const ConfigField data_rows[] = {
    {CONFIG_STRING("set", LanguageDataConfig, set, .value = "text",
                   .help = "name of the data set; datasets/README.md lists them. Of images the bytes are the tokens")},
    {CONFIG_STRING("path", LanguageDataConfig, path, CONFIG_NULLABLE, .value = "null",
                   .help = "where it lies; null: $ZOO_DATA/<set>, or where its Debian package puts it")},
    {CONFIG_STRING("tokenizer", LanguageDataConfig, tokenizer, .value = "bytes",
                   .help = "bytes, characters, words, words:N, or the file of one (common/data/tokenizer.h)")},
    {CONFIG_INT("length", LanguageDataConfig, length, .value = "0", .range = "[0, inf)",
                .help = "tokens that a sequence predicts; 0: as many as the model can see. Images have their own")},
    {CONFIG_NUMBER("hold_out", LanguageDataConfig, hold_out, .value = "0", .range = "[0, inf)",
                   .help = "the last tokens (or images) of the training part, kept for validation: a share below 1, or "
                           "a number; 0: the set's own validation part, or else its test part")},
    {CONFIG_INT("limit_train", LanguageDataConfig, limit_train, .value = "0", .range = "[0, inf)",
                .help = "use so many tokens (or images) of the training part, the first ones; 0: all")},
    {CONFIG_INT("limit_valid", LanguageDataConfig, limit_valid, .value = "0", .range = "[0, inf)",
                .help = "likewise for validation")},
    {CONFIG_INT("limit_test", LanguageDataConfig, limit_test, .value = "0", .range = "[0, inf)",
                .help = "likewise of the test part")},
    {CONFIG_INT("pairs", LanguageDataConfig, pairs, .value = "16", .range = "[1, 64]",
                .help = "of set recall: pairs to remember")},
    {CONFIG_INT("threads", LanguageDataConfig, threads, .value = "1", .range = "[0, 256]",
                .help = "threads that make batches; 0: the training thread does. Results do not depend on it")},
    {CONFIG_INT("ahead", LanguageDataConfig, ahead, .value = "4", .range = "[1, 1024]", .help = "batches made ahead")},
};

static const ConfigField train_rows[] = {
    {CONFIG_INT("steps", LanguageTrainConfig, steps, .value = "0", .range = "[0, inf)",
                .help = "of the whole run; 0: as many as train.epochs take")},
    {CONFIG_INT("epochs", LanguageTrainConfig, epochs, .value = "1", .range = "[1, 1000000]",
                .help = "with steps 0: passes over the data")},
    {CONFIG_INT("validate_every", LanguageTrainConfig, validate_every, .value = "0", .range = "[0, inf)",
                .help = "steps between two validations; 0: an epoch, or a tenth of train.steps")},
    {CONFIG_INT("batch_size", LanguageTrainConfig, batch_size, .value = "16", .range = "[1, 1000000]",
                .help = "sequences in a step")},
    {CONFIG_INT("accumulate", LanguageTrainConfig, accumulate, .value = "1", .range = "[1, 1000000]",
                .help = "parts that a batch goes through the network in, one after the other: less memory")},
    {CONFIG_REST("", LanguageTrainConfig, optimization, &optimization_table)},
    {CONFIG_ENUM("schedule", LanguageTrainConfig, schedule, CONFIG_WORDS("cosine", "constant", "rsqrt"),
                 .value = "cosine",
                 .help = "after the warm-up: cosine down to min_lr; constant; rsqrt: Tensor2Tensor's, lr for the first "
                         "warmup steps and then with 1 / sqrt(step)")},
    {CONFIG_NUMBER("min_lr", LanguageTrainConfig, min_lr, .value = "0", .range = "[0, inf)",
                   .help = "the last rate of the cosine")},
    {CONFIG_NUMBER("warmup_lr", LanguageTrainConfig, warmup_lr, .value = "0", .range = "[0, inf)",
                   .help = "where the warm-up begins")},
    {CONFIG_NUMBER("warmup", LanguageTrainConfig, warmup, .value = "0", .range = "[0, inf)",
                   .help = "steps of linear warm-up; a fraction below 1 is a share of all steps")},
    {CONFIG_ENUM("loss", LanguageTrainConfig, loss, CONFIG_WORDS("all", "answers"), .value = "all",
                 .help = "which tokens it is taken of; answers: where the data asks for something, the answers alone")},
    {CONFIG_INT("sample_length", LanguageTrainConfig, sample_length, .value = "0", .range = "[0, 1000000]",
                .help = "tokens of text that are drawn from the model at every validation, and kept for the report")},
    {CONFIG_STRING("sample_prompt", LanguageTrainConfig, sample_prompt, .value = "\"\\n\"",
                   .help = "what they continue")},
    {CONFIG_STRING("finetune", LanguageTrainConfig, finetune, CONFIG_NULLABLE, .value = "null",
                   .help = "weights to begin with: a run, a checkpoint, .safetensors, .pth")},
};

static bool resolve_train(void *config, const ConfigPlace *place, Error *e)
{
    LanguageTrainConfig *c = config;
    if (c->batch_size % c->accumulate)
        return config_refuse(place, "batch_size", e, "not divisible by the %d parts of train.accumulate",
                             c->accumulate);
    if (c->schedule == LANGUAGE_RSQRT && c->warmup < 1)
        return config_refuse(place, "warmup", e, "schedule rsqrt needs at least 1 step");
    return true;
}

static const ConfigField eval_rows[] = {
    {CONFIG_INT("batch_size", LanguageEvalConfig, batch_size, .value = "16", .range = "[1, 1000000]",
                .help = "sequences at a time; results do not depend on it")},
    {CONFIG_INT("stride", LanguageEvalConfig, stride, .value = "0", .range = "[0, inf)",
                .help = "tokens from one window of text to the next; fewer than the window's length give each token "
                        "more context. 0: windows do not overlap. Each token counts once either way")},
    {CONFIG_INT("ngram", LanguageEvalConfig, ngram, .value = "5", .range = "[0, 5]",
                .help = "order of the n-gram model that a run on bytes is compared with; 0: none")},
    {CONFIG_NUMBER("temperature", LanguageEvalConfig, temperature, .value = "1", .range = "[0, 100]",
                   .help = "of generated text; 0: always the most probable token")},
    {CONFIG_INT("top_k", LanguageEvalConfig, top_k, .value = "0", .range = "[0, inf)",
                .help = "draw from the k most probable tokens; 0: all")},
    {CONFIG_NUMBER("top_p", LanguageEvalConfig, top_p, .value = "1", .range = "[0, 1]",
                   .help = "draw from the most probable tokens that hold this share; 1: all")},
    {CONFIG_INT("length", LanguageEvalConfig, length, .value = "500", .range = "[1, 1000000]",
                .help = "tokens to generate")},
    {CONFIG_INT("seed", LanguageEvalConfig, seed, .value = "0", .range = "[0, 4294967295]",
                .help = "of what is generated")},
    {CONFIG_BOOL("cache", LanguageEvalConfig, cache, .value = "yes",
                 .help =
                     "keep the keys and values of what is written, where the model can; no: compute everything again "
                     "for each token")},
};

const ConfigTable language_data_table = {CONFIG_STRUCT(LanguageDataConfig), CONFIG_ROWS(data_rows)};
const ConfigTable language_train_table = {CONFIG_STRUCT(LanguageTrainConfig), CONFIG_ROWS(train_rows),
                                          .resolve = resolve_train};
const ConfigTable language_eval_table = {CONFIG_STRUCT(LanguageEvalConfig), CONFIG_ROWS(eval_rows)};
