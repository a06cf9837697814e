/* Errors a user can cause: one line that says which file, which key or byte, and what was expected.
 * A function that can fail returns bool (or NULL) and takes `Error *` last; the place that knows the file writes the
 * line, and only main prints it (exit code 2). */
#pragma once
#include <stdbool.h>

typedef struct Error {
    char text[1024];
} Error;

/* Writes the line and returns false, so that a failing function ends with `return error_set(e, "...")`
 * (or `return error_set(e, "...") ? NULL : NULL`; see error_null). e may be NULL. */
__attribute__((format(printf, 2, 3))) bool error_set(Error *e, const char *format, ...);

/* The same for functions that return a pointer: writes the line and returns NULL. */
__attribute__((format(printf, 2, 3))) void *error_null(Error *e, const char *format, ...);

/* Puts "prefix: " before the line that is already there: for a caller that knows the file. Returns false. */
__attribute__((format(printf, 2, 3))) bool error_prefix(Error *e, const char *format, ...);

/* A broken contract is a bug of ours: prints the message with file and line and exits 1, or aborts if the environment
 * variable ZOO_ABORT is set (for a debugger or a core file). */
__attribute__((format(printf, 3, 4), noreturn)) void contract_broken(const char *file, int line, const char *format,
                                                                     ...);

/* contract(x->rank == 3, "attend: q has rank %d, not 4", x->rank) */
#define contract(condition, ...)                                                                                       \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            contract_broken(__FILE__, __LINE__, __VA_ARGS__);                                                          \
    } while (0)

/* Ends the process with a line that the user can act on, exit code 2: only for what no caller can hand on, such as
 * memory that has run out deep inside an op. */
__attribute__((format(printf, 1, 2), noreturn)) void user_fatal(const char *format, ...);

/* For a command: prints the error's line on stderr and returns the exit code, 2. */
int user_error(const Error *e);
