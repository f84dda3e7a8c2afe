// SPDX-License-Identifier: Apache-2.0
// The status page: relay/status.html, linked into the program.
#ifndef WEIR_RELAY_STATUS_PAGE_H
#define WEIR_RELAY_STATUS_PAGE_H

#include "proto/base.h"

struct weir_slice status_page(void);

#endif
