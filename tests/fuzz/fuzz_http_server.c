// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 connection of the server, from its first byte to its last. Input: see serve.h.
#include "serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (serve.loop == NULL)
        serve_start();
    serve_bytes(&http_conn_type, NULL, 0, data, len);
    return 0;
}
