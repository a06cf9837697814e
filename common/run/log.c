#include "common/run/log.h"

#include "common/base/memory.h"
#include "common/base/str.h"
#include "common/run/append.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct Log {
    FILE *screen;
    AppendFile *file;
    bool terminal;
    bool shows_live; /* the cursor stands behind a live line */
};

Log *log_open(FILE *screen, const char *path, Error *e)
{
    AppendFile *file = NULL;
    if (path && !(file = append_open(path, false, e)))
        return NULL;
    const char *kind = getenv("TERM");
    Log *log = mem_new(sizeof *log);
    log->screen = screen;
    log->file = file;
    log->terminal = isatty(fileno(screen)) && kind && strcmp(kind, "dumb");
    return log;
}

bool log_is_live(const Log *log)
{
    return log->terminal;
}

static int terminal_width(const Log *log)
{
    struct winsize size;
    bool known = ioctl(fileno(log->screen), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return known ? size.ws_col : 80;
}

/* A line that filled the last column would wrap and could not be rewritten. */
static size_t fitting_bytes(const char *text, int width)
{
    size_t i = 0;
    for (int column = 1; text[i]; i++) {
        bool begins_character = ((unsigned char)text[i] & 0xc0) != 0x80;
        if (begins_character && column++ >= width)
            break;
    }
    return i;
}

void log_live(Log *log, const char *text)
{
    if (!log->terminal || (!*text && !log->shows_live))
        return;
    /* \r: to the line's start; ESC [K: clear to its end, after the text, so that it does not flicker */
    fprintf(log->screen, "\r%.*s\x1b[K", (int)fitting_bytes(text, terminal_width(log)), text);
    fflush(log->screen);
    log->shows_live = *text != '\0';
}

static void to_file(Log *log, const char *text)
{
    if (!log->file)
        return;
    Error e;
    char *line = str_format("%s\n", text);
    if (!append_write(log->file, line, strlen(line), &e)) {
        fprintf(stderr, "%s; the log ends here\n", e.text);
        append_close(log->file);
        log->file = NULL;
    }
    mem_free(line);
}

static void to_screen(Log *log, const char *text)
{
    log_live(log, "");
    fprintf(log->screen, "%s\n", text);
    fflush(log->screen);
}

void log_line(Log *log, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *line = mem_new((size_t)length + 1);
    vsnprintf(line, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    to_screen(log, line);
    to_file(log, line);
    mem_free(line);
}

void log_quiet(Log *log, const char *text)
{
    if (!log->terminal)
        to_screen(log, text);
    to_file(log, text);
}

void log_close(Log *log)
{
    if (!log)
        return;
    log_live(log, "");
    append_close(log->file);
    mem_free(log);
}
