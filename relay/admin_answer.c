// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_answer.h"

#include <string.h>

#include "proto/base.h"
#include "proto/err.h"
#include "proto/utf8.h"

json_t *admin_error_json(const char *text)
{
    char clean[sizeof(((struct weir_err *)0)->text)];
    utf8_copy_text(clean, sizeof(clean), text, strlen(text));
    return json_pack("{s:s}", "error", clean);
}

int admin_status_of(int code)
{
    switch (code) {
    case WEIR_E_INVALID:
        return 400;
    case WEIR_E_NOT_FOUND:
        return 404;
    case WEIR_E_LIMIT:
        return 409;
    case WEIR_E_IO:
    case WEIR_E_FULL:
        return 503;
    default:
        return 500;
    }
}
