// SPDX-License-Identifier: Apache-2.0
// What clang-tidy cannot see by itself; included before each file it reads (lint.sh), never compiled into anything.
#ifndef WEIR_TESTS_TOOLS_TIDY_H
#define WEIR_TESTS_TOOLS_TIDY_H

#include <sys/socket.h>

#include "proto/err.h"

// The analyser does not look into variadic functions, so that `return weir_fail(err, WEIR_E_IO, …)` might be WEIR_OK to it, and
// every result of the caller unset.
#define weir_fail(err, code, ...) (weir_fail(err, code, __VA_ARGS__), (code))
#define weir_wrap(err, ...)       (weir_wrap(err, __VA_ARGS__), WEIR_E_IO)

// glibc's prototypes take a transparent union, and so the analyser misses that the address is written.
extern int tidy_socket_name(int fd, struct sockaddr *address, socklen_t *length);
#define getsockname tidy_socket_name
#define getpeername tidy_socket_name

#endif
