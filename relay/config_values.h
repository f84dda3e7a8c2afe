// SPDX-License-Identifier: Apache-2.0
// Numbers as people write them, and back.
#ifndef WEIR_RELAY_CONFIG_VALUES_H
#define WEIR_RELAY_CONFIG_VALUES_H

#include "proto/base.h"
#include "proto/err.h"

// "250ms", "1m30s", "3d"; "512KiB", "20MB". WEIR_E_INVALID with what is wrong.
int config_duration_parse(const char *text, uint64_t *ms, struct weir_err *err);
int config_size_parse(const char *text, uint64_t *bytes, struct weir_err *err);
#define CONFIG_NUMBER_TEXT 48
// As short as it reads back exactly: "1m30s", "10GiB", "20MB", "1000001B".
const char *config_duration_format(uint64_t ms, char out[CONFIG_NUMBER_TEXT]);
const char *config_size_format(uint64_t bytes, char out[CONFIG_NUMBER_TEXT]);
const char *config_share_format(uint32_t thousandths, char out[CONFIG_NUMBER_TEXT]); // "0.25"

#endif
