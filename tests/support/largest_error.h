/* How far results lay from what they should be: the largest error beside what was allowed there, told when the program ends. */
#pragma once
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    double error, allowed;
    char what[160];
} largest_error;

static inline void tell_largest_error(void)
{
    printf("largest error: %.1e, %.0f %% of what is allowed, in %s\n", largest_error.error,
           100 * largest_error.error / largest_error.allowed, largest_error.what);
}

static inline void error_seen(double error, double allowed, const char *what)
{
    if (!(error * largest_error.allowed > largest_error.error * allowed) && largest_error.what[0])
        return;
    if (!isfinite(error) || !isfinite(allowed) || !(allowed > 0))
        return;
    if (!largest_error.what[0])
        atexit(tell_largest_error);
    largest_error.error = error;
    largest_error.allowed = allowed;
    snprintf(largest_error.what, sizeof largest_error.what, "%s", what);
}
