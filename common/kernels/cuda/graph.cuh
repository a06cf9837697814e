/* A step of training as CUDA graphs, for those files of this folder that do more than start kernels. Between the beginning and the
 * end of a step the kernels' stream may be capturing: what it is given then happens when the graph is launched. */
#pragma once
#include "common/kernels/cuda/check.cuh"
extern "C" {
#include "common/kernels/cuda/families.h"
}

bool graph_choose(Error *e); /* by ZOO_CUDA_GRAPH; false: a line in e */
void graph_step(StepMoment); /* MemoryKernels.step */

/* Around what must happen now, behind all that was given so far: waiting, a copy from memory that is not pinned. */
void graph_pause(void);
void graph_go_on(void);

/* The rest of this step is no graph, and the next one neither: it does what a graph cannot hold or what will not be done again (memory
 * taken or given back, a library's plan). */
void graph_leave(void);

/* An event of the kernels' stream, recorded, or waited for by the stream, at this place; around the graph where there is one: behind
 * what was captured, or before it. `what` is for the message of a failure. */
void graph_record(cudaEvent_t event, const char *what, size_t bytes);
void graph_await(cudaEvent_t event, const char *what, size_t bytes);

bool graph_capturing(void);
bool graph_records(cudaEvent_t event); /* it will be, once the graph that is being captured is launched */
uint64_t graph_number(void);           /* of the graph that is being captured: one more for each */
uint64_t graph_step_number(void);      /* of the step */
