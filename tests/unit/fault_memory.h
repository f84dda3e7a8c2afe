// SPDX-License-Identifier: Apache-2.0
// malloc, calloc and realloc ask before they give memory. For one .c file of a program, after fault_calls.h. A sanitizer's own are used
// beneath when there is one, so that it goes on seeing leaks. Not under ThreadSanitizer, which needs them before it can run anything: there
// memory never fails.
#ifndef TESTS_UNIT_FAULT_MEMORY_H
#define TESTS_UNIT_FAULT_MEMORY_H

#include <stdlib.h>

#include "tests/unit/fault_calls.h"

// NOLINTBEGIN(bugprone-reserved-identifier): they are what they are called
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__interceptor_malloc(size_t size) __attribute__((weak));
void *__interceptor_calloc(size_t n, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *p, size_t size) __attribute__((weak));
// NOLINTEND(bugprone-reserved-identifier)

#if defined(__SANITIZE_THREAD__)
#define FAULT_MEMORY_FAILS 0
#elif defined(__has_feature)
#define FAULT_MEMORY_FAILS (!__has_feature(thread_sanitizer))
#else
#define FAULT_MEMORY_FAILS 1
#endif

// Set while a thread works for the test itself; threads of the spool never set it.
static __thread bool fault_memory_spared;
// One word to look at until a test begins: this is called before anything else in the program is.
static bool fault_memory_on;

#if FAULT_MEMORY_FAILS
// Called before a sanitizer has made its own memory: nothing in here may be checked by it.
#define FAULT_UNCHECKED __attribute__((no_sanitize("address", "undefined", "thread")))

FAULT_UNCHECKED static bool fault_of_memory(void)
{
    if (!fault_memory_on || fault_memory_spared)
        return false;
    bool sanitizer = __interceptor_malloc != NULL; // it needs some itself for a thread that begins, or gives up
    return (!sanitizer || fault_thread_works) && fault_of_fd(FAULT_MEMORY, -1);
}

FAULT_UNCHECKED void *malloc(size_t size)
{
    if (fault_of_memory())
        return NULL;
    return __interceptor_malloc != NULL ? __interceptor_malloc(size) : __libc_malloc(size);
}
FAULT_UNCHECKED void *calloc(size_t n, size_t size)
{
    if (fault_of_memory())
        return NULL;
    return __interceptor_calloc != NULL ? __interceptor_calloc(n, size) : __libc_calloc(n, size);
}
FAULT_UNCHECKED void *realloc(void *p, size_t size)
{
    if (fault_of_memory())
        return NULL;
    return __interceptor_realloc != NULL ? __interceptor_realloc(p, size) : __libc_realloc(p, size);
}
#endif

#endif
