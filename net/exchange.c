// SPDX-License-Identifier: Apache-2.0
#include "net/conn.h"

const struct exchange_header *exchange_header(const struct exchange *exchange, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < exchange->header_count; i++) {
        const struct exchange_header *header = &exchange->headers[i];
        if (header->name_len == len && memcmp(header->name, name, len) == 0)
            return header;
    }
    return NULL;
}

void exchange_answer(struct exchange *exchange, const struct exchange_answer *answer)
{
    if (exchange->transport == EXCHANGE_GRPC)
        grpc_exchange_answer(exchange, answer);
    else
        http_exchange_answer(exchange, answer);
}

void exchange_stream(struct exchange *exchange, const struct exchange_answer *answer)
{
    assert(exchange->transport == EXCHANGE_GRPC);
    grpc_exchange_stream(exchange, answer);
}

void exchange_stream_put(struct exchange *exchange, struct weir_slice message)
{
    assert(exchange->transport == EXCHANGE_GRPC);
    grpc_exchange_stream_put(exchange, message);
}
