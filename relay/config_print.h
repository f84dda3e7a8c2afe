// SPDX-License-Identifier: Apache-2.0
// The configuration for people and scripts: what is in effect, and what there is.
#ifndef WEIR_RELAY_CONFIG_PRINT_H
#define WEIR_RELAY_CONFIG_PRINT_H

#include <stdio.h>

#include "relay/config.h"

// The effective configuration as YAML that config_load reads back to the same; values of headers that look like secrets are
// masked, and a comment says so. False when writing failed.
bool config_print(const struct config *config, FILE *out);
// Every key: key<TAB>type<TAB>default<TAB>help, one a line, for scripts.
void config_print_keys(FILE *out);
// The same for people, as `weir help config` shows it: with bounds, choices and what --set takes.
void config_print_help(FILE *out);
// Certificates that have expired or will soon, a line each.
void config_files_warn(const struct config *config, const char *file, FILE *out);

#endif
