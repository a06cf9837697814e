#include "common/run/progress.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/run/readable.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

static const double LIVE_SECONDS = 0.1, LINE_SECONDS = 1, SILENT_SECONDS = 10, RATE_SECONDS = 5;

void progress_begin(Progress *p, Log *log, const ProgressPlan *plan)
{
    *p = (Progress){.log = log, .plan = *plan, .clock = clock_seconds};
    p->begun = p->last_step = p->last_live = p->last_line = clock_seconds();
}

static void new_epoch(Progress *p, int epoch)
{
    p->epoch = epoch;
    p->loss = p->measure = p->weight = p->waited = 0;
    p->last_tenth = 0;
}

static void count_step(Progress *p, const ProgressStep *s, double now)
{
    double seconds = now - p->last_step, fade = exp(-seconds / RATE_SECONDS), weight = (double)s->count;
    p->recent_count = p->recent_count * fade + weight;
    p->recent_seconds = p->recent_seconds * fade + seconds;
    p->last_step = now;
    p->loss += s->loss * weight;
    p->measure += s->measure * weight;
    p->weight += weight;
    p->waited += s->waited;
    p->done_here++;
}

double progress_rate(const Progress *p)
{
    return p->recent_seconds > 0 ? p->recent_count / p->recent_seconds : 0;
}

double progress_left(const Progress *p)
{
    if (!p->done_here)
        return NAN;
    int64_t left = p->plan.total - p->plan.done - p->done_here;
    return (p->last_step - p->begun) / (double)p->done_here * (double)MAX(left, 0);
}

static int64_t step_of_run(const Progress *p, const ProgressStep *s)
{
    return (s->epoch - 1) * p->plan.steps + s->step;
}

static bool ends_epoch(const Progress *p, const ProgressStep *s)
{
    return s->step == p->plan.steps || step_of_run(p, s) == p->plan.total;
}

static char *progress_text(const Progress *p, const ProgressStep *s)
{
    Str line = {0};
    const Measure *m = &p->plan.measure;
    bool epochs = p->plan.epochs > 0;
    int64_t steps = epochs ? p->plan.steps : p->plan.total;
    int64_t step = epochs ? s->step : step_of_run(p, s);
    if (epochs)
        str_add(&line, "epoch %d/%d  ", s->epoch, p->plan.epochs);
    str_add(&line, "step %*" PRId64 "/%" PRId64, snprintf(NULL, 0, "%" PRId64, steps), step, steps);
    str_add(&line, "  loss %.4f", p->loss / p->weight);
    if (m->name && !isnan(p->measure))
        str_add(&line, m->percent ? "  %s %5.2f %%" : "  %s %.4f", m->name,
                (m->percent ? 100 : 1) * p->measure / p->weight);
    str_add(&line, "  %s %s/s", readable_count(llround(progress_rate(p))).text, p->plan.unit);
    str_add(&line, "  waited %.1f s for data", p->waited);
    str_add(&line, "  %s left", readable_seconds(progress_left(p)).text);
    return line.text;
}

/* A whole line is due at a new tenth of the epoch and after long silence; the last step of an epoch is always one. */
static bool line_is_due(const Progress *p, const ProgressStep *s, double now)
{
    double silence = now - p->last_line;
    bool new_tenth = 10 * s->step / p->plan.steps > p->last_tenth;
    return ends_epoch(p, s) || silence >= SILENT_SECONDS || (new_tenth && silence >= LINE_SECONDS);
}

void progress_step(Progress *p, const ProgressStep *s)
{
    double now = p->clock();
    if (s->epoch != p->epoch)
        new_epoch(p, s->epoch);
    count_step(p, s, now);
    bool line = line_is_due(p, s, now);
    bool live = log_is_live(p->log) && (now - p->last_live >= LIVE_SECONDS || ends_epoch(p, s));
    if (!line && !live)
        return;
    char *text = progress_text(p, s);
    if (line) {
        log_quiet(p->log, text);
        p->last_line = now;
        p->last_tenth = 10 * s->step / p->plan.steps;
    }
    if (live) {
        log_live(p->log, text);
        p->last_live = now;
    }
    mem_free(text);
}

void progress_pause_over(Progress *p)
{
    p->last_step = p->clock();
}
