#include "common/run/readable.h"

#include "common/base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

Readable readable_seconds(double seconds)
{
    Readable r;
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(r.text, sizeof r.text, "?");
        return r;
    }
    long s = lround(seconds), minutes = s / 60, hours = s / 3600, days = s / 86400;
    if (s == 0 && seconds > 0)
        snprintf(r.text, sizeof r.text, "%.2g s", seconds);
    else if (minutes == 0)
        snprintf(r.text, sizeof r.text, "%ld s", s);
    else if (hours == 0)
        snprintf(r.text, sizeof r.text, "%ld min %02ld s", minutes, s % 60);
    else if (days == 0)
        snprintf(r.text, sizeof r.text, "%ld h %02ld min", hours, minutes % 60);
    else
        snprintf(r.text, sizeof r.text, "%ld d %02ld h", days, hours % 24);
    return r;
}

Readable readable_count(int64_t count)
{
    char digits[24];
    Readable r;
    int n = snprintf(digits, sizeof digits, "%lld", (long long)count), out = 0;
    for (int i = 0; i < n; i++) {
        r.text[out++] = digits[i];
        int left = n - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-')
            r.text[out++] = ',';
    }
    r.text[out] = '\0';
    return r;
}

Readable readable_bytes(double bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < COUNT_OF(units) - 1) {
        bytes /= 1024;
        unit++;
    }
    Readable r;
    snprintf(r.text, sizeof r.text, "%.*f %s", unit == 0 || bytes >= 100 ? 0 : 1, bytes, units[unit]);
    return r;
}
