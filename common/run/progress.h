/* The line that says how far a run is:
 *   epoch 3/20  step 412/937  loss 0.4823  accuracy 82.31 %  12,431 images/s  waited 0.3 s for data  4 min 12 s left
 *   step 2412/20000  loss 1.4823  bits_per_byte 2.1385  12,431 tokens/s  waited 0.3 s for data  4 min 12 s left
 * On a terminal one line is rewritten, at most ten times a second. In a pipe, and in the log file always, whole lines
 * come at every tenth of an epoch, but not more often than once a second, or after ten seconds of silence. */
#pragma once
#include "common/run/log.h"
#include <stdint.h>

/* What a step tells beside its loss. */
typedef struct Measure {
    const char *name; /* "accuracy"; NULL: nothing */
    bool percent;     /* a share of 1, shown in % */
} Measure;

typedef struct ProgressPlan {
    int epochs;       /* 0: the run is not counted in epochs but in steps */
    int64_t steps;    /* in an epoch, or from one validation to the next */
    int64_t total;    /* of the whole run */
    int64_t done;     /* of these, what an earlier process did (a resumed run); 0: none */
    const char *unit; /* what `count` counts: "images", "tokens" */
    Measure measure;
} ProgressPlan;

typedef struct ProgressStep {
    int epoch;      /* from 1 */
    int64_t step;   /* of the epoch, from 1 */
    int64_t count;  /* images in this step */
    double loss;    /* mean over them */
    double measure; /* likewise, of the plan's measure; NaN: not known */
    double waited;  /* seconds this step waited for data */
} ProgressStep;

typedef struct Progress {
    Log *log;
    ProgressPlan plan;
    double (*clock)(void); /* seconds; a test puts its own here after progress_begin */
    int epoch;
    double loss, measure, weight, waited; /* sums over the epoch */
    int64_t done_here;                    /* steps this process did */
    double begun, last_step, last_live, last_line;
    int64_t last_tenth;
    double recent_count, recent_seconds; /* fade with a half-life of some seconds: the rate is of now */
} Progress;

void progress_begin(Progress *p, Log *log, const ProgressPlan *plan);

/* After each training step; prints when it is time. Loss and measure are shown as means over the epoch so far. */
void progress_step(Progress *p, const ProgressStep *s);

/* Work between steps (an evaluation) that must not count as slow training: call after it. The time left still knows of
 * it, because it is measured over the whole run. */
void progress_pause_over(Progress *p);

double progress_rate(const Progress *p); /* images a second, of now; 0 before the first step */
double progress_left(const Progress *p); /* seconds; NaN before the first step */
