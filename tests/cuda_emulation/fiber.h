/* Stacks that change places without a system call (x86-64), announced to AddressSanitizer. */
#pragma once
#include <stddef.h>

struct Fiber {
    void *stack_pointer; /* while it is not running */
    char *stack;         /* lowest address */
    size_t stack_bytes;
    void *sanitizer; /* AddressSanitizer's own state of a fiber that is not running */
};

/* A stack of its own with a page below it that nobody may touch. */
void fiber_new(Fiber *fiber, size_t bytes);

/* The next fiber_switch to it calls entry(), which must not return: it ends with fiber_switch(..., true). */
void fiber_start(Fiber *fiber, void (*entry)(void));

/* Leaves `from`, which is running, for `to`. `for_good`: `from` will not run again before it is started anew. */
void fiber_switch(Fiber *from, Fiber *to, bool for_good);

/* To be called first in an entry, with the fiber it was started from: whose stack that runs on is noted in it. */
void fiber_arrived(Fiber *from);
