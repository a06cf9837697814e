#include "tests/cuda_emulation/fiber.h"

#include "tests/cuda_emulation/emulation.h"

#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "the CUDA emulation switches stacks on x86-64 only"
#endif

/* Saves what a called function must keep (System V ABI), puts the stack pointer into *save, and goes on where the other
 * stack left off. */
extern "C" __attribute__((visibility("hidden"))) void zoo_fiber_switch(void **save, void *load);
asm(R"(
.text
.p2align 4
.globl zoo_fiber_switch
.hidden zoo_fiber_switch
.type zoo_fiber_switch, @function
zoo_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size zoo_fiber_switch, .-zoo_fiber_switch
)");

void fiber_new(Fiber *fiber, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        emulated_fail("no memory for a stack");
    mprotect(memory, page, PROT_NONE);
    *fiber = {NULL, (char *)memory + page, bytes, NULL};
}

void fiber_start(Fiber *fiber, void (*entry)(void))
{
    void **top = (void **)(fiber->stack + fiber->stack_bytes);
    *--top = NULL; /* entry finds the stack as if called: 8 bytes off a multiple of 16, no return address */
    *--top = (void *)entry;
    for (int saved = 0; saved < 6; saved++)
        *--top = NULL;
    fiber->stack_pointer = top;
    fiber->sanitizer = NULL;
#ifdef __SANITIZE_ADDRESS__
    /* What has returned has cleaned up after itself; what was left for good, at the top, has not. */
    const size_t left = 8192;
    __asan_unpoison_memory_region(fiber->stack + fiber->stack_bytes - left, left);
#endif
}

void fiber_switch(Fiber *from, Fiber *to, bool for_good)
{
    (void)for_good;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->sanitizer, to->stack, to->stack_bytes);
#endif
    zoo_fiber_switch(&from->stack_pointer, to->stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from->sanitizer, NULL, NULL);
#endif
}

void fiber_arrived(Fiber *from)
{
    (void)from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, (const void **)&from->stack, &from->stack_bytes);
#endif
}
