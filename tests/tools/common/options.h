// SPDX-License-Identifier: Apache-2.0
// Command-line values with their limits; a wrong one ends the program with exit code 2 and a text that names the option.
#ifndef WEIR_TOOLS_OPTIONS_H
#define WEIR_TOOLS_OPTIONS_H

#include "proto/base.h"

__attribute__((noreturn, format(printf, 1, 2))) void usage_error(const char *fmt, ...);
uint64_t option_uint(const char *option, const char *text, uint64_t max);
// "127.0.0.1:4317", "[::1]:4317", ":4317" (loopback), also behind a scheme such as http://.
void option_address(const char *option, const char *text, char host[256], uint16_t *port);
enum weir_signal option_signal(const char *option, const char *text);

#endif
