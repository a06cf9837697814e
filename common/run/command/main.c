#include "common/run/command/command.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/comm/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The usage, which is freed, and every key of a config. */
static void print_help(const Program *p, Str *usage)
{
    SettingsTables tables = program_tables(p);
    str_add(usage, "\nKeys of a config, as in %s/*.yaml, or as key=value here:\n\n", p->configs);
    settings_help(&tables, usage);
    fputs(usage->text, stdout);
    str_free(usage);
}

int program_error(const Error *e)
{
    int rank = launch_describe().rank;
    const struct timespec until_ended = {.tv_sec = 2};
    if (rank == 0)
        return user_error(e);
    if (nanosleep(&until_ended, NULL) == 0)
        fprintf(stderr, "rank %d: %s\n", rank, e->text);
    return 2;
}

/* All that ranks but the first have to say is errors. */
static bool open_ranks(Program *p, Error *e)
{
    if (launch_describe().rank > 0 && !freopen("/dev/null", "w", stdout))
        return error_set(e, "/dev/null: cannot be opened");
    return comm_open(&p->comm, e);
}

/* Only ranks that all end well take leave of each other. */
static void close_ranks(Program *p, int code)
{
    if (code == 0 || code == 130)
        comm_close(p->comm);
}

static int run_train(Program *p, int count, char **words)
{
    Error e;
    TrainOptions options;
    if (!open_ranks(p, &e) || !train_options(&options, count, words, &e))
        return program_error(&e);
    int code = 0;
    if (options.help) {
        Str text = {0};
        train_usage(p->model->name, &text);
        print_help(p, &text);
    } else {
        code = train_command(p, &options);
    }
    train_options_free(&options);
    close_ranks(p, code);
    return code;
}

static bool is_alone(Error *e)
{
    int ranks = launch_describe().ranks;
    return ranks == 1 ||
           error_set(e, "./eval is one process, and this is one of %d ranks: start it without mpirun", ranks);
}

static int run_eval(const Program *p, int count, char **words)
{
    enum { MOST_VIEWS = 16 };
    Error e;
    EvalOptions options;
    ViewOption views[MOST_VIEWS];
    int view_count = 0;
    for (const ModelView *v; view_count < MOST_VIEWS && (v = model_view(p->model, view_count)); view_count++)
        views[view_count] = (ViewOption){v->name, v->argument, v->help};
    if (!is_alone(&e) || !eval_options(&options, views, view_count, count, words, &e))
        return program_error(&e);
    int code = 0;
    if (options.help) {
        Str text = {0};
        eval_usage(p->model->name, views, view_count, &text);
        print_help(p, &text);
    } else {
        code = eval_command(p, &options);
    }
    eval_options_free(&options);
    return code;
}

int model_main(const Model *model, const char *root, int argc, char **argv)
{
    Program p = {.model = model, .root = root, .started = clock_seconds()};
    p.configs = str_format("%s/models/%s/configs", root, model->name);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int code = 2;
    if (argc >= 2 && strcmp(argv[1], "train") == 0)
        code = run_train(&p, argc - 2, argv + 2);
    else if (argc >= 2 && strcmp(argv[1], "eval") == 0)
        code = run_eval(&p, argc - 2, argv + 2);
    else
        fprintf(stderr, "usage: %s train|eval ...\n", argv[0]);
    free(p.configs);
    return code;
}
