#include "common/run/command/command.h"

#include "common/base/clock.h"
#include "common/run/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

SettingsTables program_tables(const Program *p)
{
    const Workload *w = p->model->workload;
    return (SettingsTables){p->model->config, w->data, w->train, w->eval};
}

bool job_open(Job *job, const Program *p, Settings *settings, Device device, Error *e)
{
    const Backend *backend = cpu_backend(e);
    if (!backend)
        return false;
    bool half = settings->run.precision == PRECISION_BF16;
    if (half && !backend->bf16)
        return error_set(e,
                         "precision: bf16 needs a CPU with AVX512_BF16 (this one's level is %s); use precision: fp32",
                         cpu_backend_level());
    int threads = settings->run.threads ? settings->run.threads : machine_describe("").usable;
    *job = (Job){.model = p->model, .settings = settings, .params = params_new(), .started = p->started};
    job->network = p->model->create(settings->model, job->params);
    params_allocate(job->params, device != DEVICE_META, (uint32_t)settings->run.seed, backend);
    job->tape = tape_new(&(TapeOptions){.device = device,
                                        .backend = device == DEVICE_META ? NULL : backend,
                                        .threads = threads,
                                        .inner = half ? BF16 : F32,
                                        .comm = device == DEVICE_META ? NULL : p->comm,
                                        .seed = (uint32_t)settings->run.seed});
    return true;
}

void job_close(Job *job)
{
    tape_free(job->tape); /* what it still holds may be views of parameters */
    if (job->network)
        job->model->destroy(job->network);
    params_free(job->params);
    *job = (Job){0};
}

void result_add(Result *r, double value, const char *name, ...)
{
    contract(r->count < TASK_FIGURES, "a result of more than %d figures", TASK_FIGURES);
    va_list args;
    va_start(args, name);
    vsnprintf(r->names[r->count], sizeof r->names[0], name, args);
    va_end(args);
    r->values[r->count++] = value;
}
