/* The commands of a model's program; each returns an exit code. */
#pragma once
#include "common/run/cli/options.h"
#include "common/run/model.h"

/* The program as it was started. */
typedef struct Program {
    const Model *model;
    const char *root; /* the project's folder */
    char *configs;    /* models/<model>/configs in it */
    double started;   /* seconds, monotonic */
    Comm *comm;       /* the ranks that train together; NULL: one alone */
} Program;

/* As user_error, said once: a rank that fails as all do is ended by the launcher before it says so, too; one that fails alone
 * says which it is. */
int program_error(const Error *e);

int train_command(const Program *p, const TrainOptions *options);
int eval_command(const Program *p, const EvalOptions *options);

/* The named configurations with parameters and GMACs, one a line; with_data: what each needs, and whether it is here. */
bool print_configs(const Program *p, bool with_data, Error *e);

/* Whether the settings are no experiment, or one whose arms can all be trained: none fails after another took hours. */
bool experiment_check(const Program *p, const Settings *s, Error *e);

/* Every arm with every seed, and the table. TRAINER_INTERRUPTED where one was. */
TrainerEnd run_experiment(const Program *p, const Settings *experiment, const char *run, Log *log, Error *e);

/* The newest checkpoint of a run, as checkpoint_latest, which rank 0 calls; all get the path. */
bool latest_checkpoint(const Program *p, const char *run, char **path, Error *e);

/* One run in its folder, which the caller has locked, from the start or from `resume` (a checkpoint folder). */
TrainerEnd run_training(const Program *p, Settings *settings, const char *run, const char *resume, Log *log, Error *e);

const ModelView *model_view(const Model *model, int i); /* the model's own, then its workload's; NULL behind the last */

/* ---- Jobs (job.c) */
SettingsTables program_tables(const Program *p);

/* A network with fresh parameters on the device of the settings, or with nothing but shapes on the meta device. */
typedef enum JobMemory { JOB_ON_DEVICE, JOB_OF_SHAPES } JobMemory;
bool job_open(Job *job, const Program *p, Settings *settings, JobMemory memory, Error *e);
void job_close(Job *job); /* not the settings */

/* The kernels of a device; NULL with a line. */
const Backend *device_backend(DeviceChoice device, Error *e);

/* A step of training in shapes alone; false with a line if the settings' device lacks a kernel for it. Settings that the data has
 * not been held against may end the program. */
bool job_rehearse(const Program *p, Settings *settings, Error *e);

/* What a user means by a run, a checkpoint or a file of weights: the file, and the config beside or inside it (NULL: none). */
typedef struct Weights {
    char *path;
    char *run; /* the folder of the run that saved them; NULL: none did */
    Node *config;
} Weights;

bool weights_find(Weights *w, const char *target, Error *e);
void weights_free(Weights *w);

/* Settings for evaluating weights: their own config, or `config=NAME` of the overrides, or the only named config that fits. */
Settings *weights_settings(const Program *p, Weights *w, const Node *overrides, Error *e);
bool weights_load(const Weights *w, Job *job, const char *skip, Error *e);
bool weights_read(Job *job, const char *target, const char *skip, Error *e); /* found and loaded */
