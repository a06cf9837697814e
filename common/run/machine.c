#include "common/run/machine.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/comm/launch.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Files of /proc and /sys say that they are 0 bytes long, so they are read to their end. NULL: not there. */
static char *system_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    Str s = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        str_add_bytes(&s, part, n);
    fclose(f);
    return s.text;
}

/* The value of the first line `key<separator>value`, without quotes and spaces around it. */
static bool line_value(const char *text, const char *key, char separator, char *out, size_t size)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (!str_starts(line, key))
            continue;
        const char *value = line + strlen(key);
        value += strspn(value, " \t");
        if (*value != separator)
            continue;
        value += 1 + strspn(value + 1, " \t\"");
        size_t length = strcspn(value, "\n\"");
        snprintf(out, size, "%.*s", (int)length, value);
        return true;
    }
    return false;
}

static void read_cpu(Machine *m, const char *architecture)
{
    char *text = system_file("/proc/cpuinfo");
    if (!text || !line_value(text, "model name", ':', m->cpu, sizeof m->cpu))
        snprintf(m->cpu, sizeof m->cpu, "%s", architecture);
    /* Physical cores: distinct pairs of socket and core. */
    ARRAY(uint64_t) seen = {0};
    unsigned socket = 0, core;
    for (char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (sscanf(line, "physical id : %u", &socket) == 1 || sscanf(line, "core id : %u", &core) != 1)
            continue;
        uint64_t pair = (uint64_t)socket << 32 | core;
        size_t i = 0;
        while (i < seen.count && seen.items[i] != pair)
            i++;
        if (i == seen.count)
            *array_add(&seen) = pair;
    }
    m->cores = (int)seen.count;
    array_free(&seen);
    mem_free(text);
}

/* Ranks on one machine that the launcher has bound to no processors share them all. */
static int usable_cpus(void)
{
    cpu_set_t set;
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : online;
    int sharers = count == online ? launch_describe().local_ranks : 1;
    char *limit = system_file("/sys/fs/cgroup/cpu.max"); /* "quota period" or "max period" */
    double quota, period;
    if (limit && sscanf(limit, "%lf %lf", &quota, &period) == 2 && period > 0)
        count = MIN(count, MAX(1, (int)ceil(quota / period)));
    mem_free(limit);
    return MAX(1, count / sharers);
}

static int64_t usable_memory(void)
{
    int64_t bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    char *limit = system_file("/sys/fs/cgroup/memory.max"); /* bytes or "max" */
    long long most;
    if (limit && sscanf(limit, "%lld", &most) == 1 && most > 0)
        bytes = MIN(bytes, (int64_t)most);
    mem_free(limit);
    return bytes;
}

static void read_system(Machine *m, const struct utsname *name)
{
    char distribution[80];
    char *text = system_file("/etc/os-release");
    if (!text || !line_value(text, "PRETTY_NAME", '=', distribution, sizeof distribution))
        snprintf(distribution, sizeof distribution, "unknown distribution");
    snprintf(m->system, sizeof m->system, "%.60s, %.16s %.46s", distribution, name->sysname, name->release);
    mem_free(text);
}

Machine machine_describe(const char *level)
{
    Machine m = {.usable = usable_cpus(), .memory = usable_memory()};
    struct utsname name;
    uname(&name);
    read_cpu(&m, name.machine);
    read_system(&m, &name);
    snprintf(m.level, sizeof m.level, "%s", level);
#ifdef __clang__
    snprintf(m.compiler, sizeof m.compiler, "Clang %s", __clang_version__);
#else
    snprintf(m.compiler, sizeof m.compiler, "GCC %s", __VERSION__);
#endif
    return m;
}
