#include "common/run/command/command.h"

#include "common/base/clock.h"
#include "common/kernels/cuda/cuda.h"
#include "common/run/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

SettingsTables program_tables(const Program *p)
{
    const Workload *w = p->model->workload;
    return (SettingsTables){p->model->config, w->data, w->train, w->eval};
}

const Backend *device_backend(DeviceChoice device, Error *e)
{
    return device == CHOICE_CUDA ? cuda_backend(e) : cpu_backend(e);
}

bool job_open(Job *job, const Program *p, Settings *settings, JobMemory memory, Error *e)
{
    bool half = settings->run.precision == PRECISION_BF16, real = memory == JOB_ON_DEVICE;
    bool needed = real || settings->run.device == CHOICE_CPU; /* shapes of a GPU can be counted where there is none */
    const Backend *backend = needed ? device_backend(settings->run.device, e) : NULL;
    if (!backend && needed)
        return false;
    if (real && !backend->memory.on_host && !comm_open_gpus(p->comm, e))
        return false;
    if (half && backend && !backend->bf16)
        return error_set(e,
                         "precision: bf16 needs a CPU with AVX512_BF16 (this one's level is %s); use precision: fp32",
                         cpu_backend_level());
    int threads = settings->run.threads ? settings->run.threads : machine_describe("").usable;
    *job = (Job){.model = p->model, .settings = settings, .params = params_new(), .started = p->started};
    job->network = p->model->create(settings->model, job->params);
    params_allocate(job->params, real, (uint32_t)settings->run.seed, backend);
    job->tape = tape_new(&(TapeOptions){.device = real ? DEVICE_CPU : DEVICE_META,
                                        .backend = real ? backend : NULL,
                                        .threads = threads,
                                        .inner = half ? BF16 : F32,
                                        .comm = real ? p->comm : NULL,
                                        .seed = (uint32_t)settings->run.seed});
    return true;
}

bool job_rehearse(const Program *p, Settings *settings, Error *e)
{
    Job job;
    const Backend *backend = device_backend(settings->run.device, e);
    if (!backend || !job_open(&job, p, settings, JOB_OF_SHAPES, e))
        return false;
    tape_rehearse(job.tape, backend);
    p->model->workload->rehearse(&job);
    const char *missing = tape_missing(job.tape);
    job_close(&job);
    return !missing || error_set(e, "device %s has no %s yet", backend->name, missing);
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
