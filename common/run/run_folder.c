#include "common/run/run_folder.h"

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/str.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

bool run_folder_name(const char *what, const char *name, Error *e)
{
    bool good = name[0] && name[0] != '.' && name[0] != '-';
    for (const char *c = name; *c && good; c++)
        good = *c != '/' && !iscntrl((unsigned char)*c);
    if (!good)
        return error_set(e, "%s '%s': a folder is named after it, so it must be a plain name without '/'", what, name);
    return true;
}

static bool status_write(const char *run, const char *word, Error *e)
{
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    char *path = path_join(run, "status"), *text = str_format("%s %s\n", word, when);
    bool good = file_write(path, text, strlen(text), e);
    mem_free(path);
    mem_free(text);
    return good;
}

char *run_folder_make(const char *root, const char *model, const char *name, Error *e)
{
    if (!run_folder_name("model", model, e) || !run_folder_name("name", name, e))
        return NULL;
    char *parent = path_join(root, model), *run = path_join(parent, name);
    bool good = folder_make(parent, e);
    /* mkdir both asks and takes: of two programs only one gets the name. */
    for (int n = 2; good && mkdir(run, 0777) < 0; n++) {
        if (errno != EEXIST)
            good = error_set(e, "%s: cannot be made: %s", run, strerror(errno));
        mem_free(run);
        run = str_format("%s/%s-%d", parent, name, n);
    }
    good = good && status_write(run, "started", e);
    mem_free(parent);
    if (good)
        return run;
    mem_free(run);
    return NULL;
}

char *run_folder_arm(const char *run, const char *arm, int64_t seed, Error *e)
{
    if (!run_folder_name("arm", arm, e))
        return NULL;
    char *folder = str_format("%s/%s/seed%lld", run, arm, (long long)seed);
    char *status = path_join(folder, "status");
    bool good = folder_make(folder, e) && (file_exists(status) || status_write(folder, "started", e));
    mem_free(status);
    if (good)
        return folder;
    mem_free(folder);
    return NULL;
}

/* Figures in the folder, or as far below it as the runs of an experiment lie. */
static bool has_figures(const char *folder, int depth)
{
    char *metrics = path_join(folder, "metrics.csv"), **names = NULL;
    bool found = file_exists(metrics);
    int count = 0;
    mem_free(metrics);
    if (!found && depth > 0)
        folder_list(folder, &names, &count, NULL);
    for (int i = 0; i < count && !found; i++) {
        char *below = path_join(folder, names[i]);
        found = folder_exists(below) && has_figures(below, depth - 1);
        mem_free(below);
    }
    names_free(names, count);
    return found;
}

bool run_folder_begun(const char *run)
{
    return has_figures(run, 2);
}

bool run_folder_finish(const char *run, Error *e)
{
    return status_write(run, "finished", e);
}

bool run_folder_finished(const char *run)
{
    char *path = path_join(run, "status"), *text = file_read(path, NULL, NULL);
    bool finished = text && str_starts(text, "finished");
    mem_free(path);
    mem_free(text);
    return finished;
}

/* When the run was started: its status file is written then, and next when it finishes. False: not a run. */
static bool started_at(const char *run, struct timespec *when)
{
    struct stat st;
    char *path = path_join(run, "status");
    bool there = stat(path, &st) == 0;
    mem_free(path);
    if (there)
        *when = st.st_mtim;
    return there;
}

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static char *newest_run(const char *root, const char *model, bool unfinished, Error *e)
{
    char *parent = path_join(root, model), *newest = NULL, **names = NULL;
    struct timespec best = {0}, when;
    int count = 0;
    if (folder_exists(parent) && !folder_list(parent, &names, &count, e)) {
        mem_free(parent);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        char *run = path_join(parent, names[i]);
        if (started_at(run, &when) && !(unfinished && run_folder_finished(run)) && (!newest || later(when, best))) {
            mem_free(newest);
            newest = str_copy(run);
            best = when;
        }
        mem_free(run);
    }
    names_free(names, count);
    if (!newest)
        error_set(e, unfinished ? "--resume: no unfinished run in %s" : "no run in %s; train one first", parent);
    mem_free(parent);
    return newest;
}

char *run_folder_newest_unfinished(const char *root, const char *model, Error *e)
{
    return newest_run(root, model, true, e);
}

char *run_folder_newest(const char *root, const char *model, Error *e)
{
    return newest_run(root, model, false, e);
}

bool run_folder_lock(const char *run, Error *e)
{
    char *path = path_join(run, "status");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!good && fd >= 0 && errno == EWOULDBLOCK)
        error_set(e, "%s: another process is training this run", run);
    else if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        error_set(e, "%s: no run lies there", run);
    else if (!good)
        error_set(e, "%s: %s", path, strerror(errno));
    if (!good && fd >= 0)
        close(fd);
    mem_free(path);
    return good; /* the file stays open: the kernel lets go of the lock when the process ends, however it ends */
}
