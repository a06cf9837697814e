/* What a run says: whole lines on stdout and in its log file, and on a terminal one live line below them. */
#pragma once
#include "common/base/error.h"
#include <stdio.h>

typedef struct Log Log;

/* Speaks to `screen` (stdout) and appends to the file at `path` (NULL: no file). NULL with a line if the file cannot be
 * opened. */
Log *log_open(FILE *screen, const char *path, Error *e);

/* One line (the newline is added) to both. A live line on the terminal makes room first. A log file that can no longer
 * be written (a full disk) costs no run its life: that is said once on stderr, and the screen goes on. */
__attribute__((format(printf, 2, 3))) void log_line(Log *log, const char *format, ...);

/* Only on a terminal: rewrites the live line in place, cut to the terminal's width. An empty text clears it. */
void log_live(Log *log, const char *text);
bool log_is_live(const Log *log); /* the screen is a terminal that can rewrite a line */

/* Like log_line, but where the live line shows the same, only the file gets it. */
void log_quiet(Log *log, const char *text);

void log_close(Log *log); /* NULL is fine */
