// SPDX-License-Identifier: Apache-2.0
// A gRPC connection of the server, behind HTTP/2's preface and an empty SETTINGS. Input: see serve.h; the bytes are frames.
#include "serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    if (serve.loop == NULL)
        serve_start();
    serve_bytes(&grpc_conn_type, (const uint8_t *)start, sizeof(start) - 1, data, len);
    return 0;
}
