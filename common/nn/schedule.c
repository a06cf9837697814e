#include "common/nn/schedule.h"

#include <math.h>

static double cosine(const CosineSchedule *s, double part)
{
    return s->floor + 0.5 * (s->peak - s->floor) * (1.0 + cos(M_PI * part));
}

double schedule_cosine(const CosineSchedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->start + (s->peak - s->start) * (double)(step + 1) / (double)s->warmup;
    if (step >= s->total)
        return s->floor;
    return cosine(s, (double)(step - s->warmup) / (double)(s->total - s->warmup));
}

double schedule_timm_cosine(const CosineSchedule *s, int64_t epoch)
{
    if (epoch == 0)
        return s->warmup ? s->start : s->peak;
    int64_t t = epoch - 1;
    if (t < s->warmup)
        return s->start + (double)t * (s->peak - s->start) / (double)s->warmup;
    return t < s->total ? cosine(s, (double)t / (double)s->total) : s->floor;
}

double schedule_rsqrt(double constant, int64_t warmup, int64_t step)
{
    return step > warmup ? constant * sqrt((double)warmup / (double)step) : constant;
}
