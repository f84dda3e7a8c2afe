// SPDX-License-Identifier: Apache-2.0
// This process as the kernel sees it, in the terms of Prometheus client libraries (process_*). Any thread.
#ifndef WEIR_RELAY_PROCESS_H
#define WEIR_RELAY_PROCESS_H

#include "proto/base.h"

struct process_stats {
    double cpu_seconds; // user and system, all threads
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    double start_unix_seconds;
};
// False when /proc could not be read; *out is zero then.
bool process_stats_get(struct process_stats *out);

// The fields of /proc/PID/stat that matter, in clock ticks and pages. The command's name may hold spaces and parentheses.
struct process_stat {
    uint64_t user_ticks, system_ticks, start_ticks; // start: since boot
    uint64_t virtual_bytes, resident_pages;
};
bool process_stat_parse(const char *text, struct process_stat *out);

#endif
