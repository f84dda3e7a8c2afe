// SPDX-License-Identifier: Apache-2.0
// `weir status` for people: the JSON of /v1/status as a page of text. Pure but for the FILE.
#ifndef WEIR_RELAY_STATUS_PRINT_H
#define WEIR_RELAY_STATUS_PRINT_H

#include <jansson.h>
#include <stdio.h>

#include "relay/config.h"

// What --watch remembers between pages: the largest backlog of each upstream since it was last empty. Zero-initialise.
struct status_watch {
    double peak_items[CONFIG_MAX_UPSTREAMS];
};

// Members that are missing are shown as "-": the answer may come from another version. Control characters in it are not passed on
// to the terminal. `watch` NULL: one page, without the bar that shows how far the backlog has been emptied.
void status_print(const json_t *status, struct status_watch *watch, FILE *out);

#define STATUS_WORD_LEN 32
void status_bytes_format(double bytes, char out[STATUS_WORD_LEN]);      // "1.2 GiB"
void status_duration_format(double seconds, char out[STATUS_WORD_LEN]); // "3.1s", "2m05s", "1h02m", "3d04h"
void status_count_format(double count, char out[STATUS_WORD_LEN]);      // "1,234,567"
// Bytes of control (C0, DEL and C1 in UTF-8) become '?'.
void status_clean(const char *text, char *out, size_t cap);

#endif
