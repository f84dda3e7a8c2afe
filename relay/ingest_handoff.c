// SPDX-License-Identifier: Apache-2.0
// Exports of another weir on their way in: what was stored before is not stored again (origins.h).
#include "relay/ingest_priv.h"

static struct weir_slice value_of(const struct exchange *exchange, const char *name)
{
    const struct exchange_header *header = exchange_header(exchange, name);
    return header == NULL ? (struct weir_slice){NULL, 0}
                          : (struct weir_slice){(const uint8_t *)header->value, header->value_len};
}

bool ingest_handoff_admit(struct request *request)
{
    struct origins *origins = request->ingest->options.origins;
    struct handoff handoff;
    if (origins == NULL || request->exchange == NULL)
        return true;
    struct weir_slice text = value_of(request->exchange, HANDOFF_HEADER);
    // What cannot be read is no weir's, or a newer one's: stored as anybody's.
    if (text.data == NULL ||
        !handoff_parse(value_of(request->exchange, HANDOFF_BATCH_HEADER), text, request->signal, &handoff))
        return true;
    struct exchange *exchange;
    struct position same_to;
    char repeat[HANDOFF_REPEAT_MAX];
    switch (origins_claim(origins, &handoff, &request->claim, &same_to)) {
    case ORIGINS_TAKE:
        return true;
    case ORIGINS_HELD:
        exchange = request->exchange;
        ingest_request_free(request);
        ingest_answer_ok(exchange, true);
        return false;
    case ORIGINS_PART:
        handoff_format_part(same_to, repeat);
        ingest_request_refuse_part(request, repeat);
        return false;
    case ORIGINS_BUSY:
        break;
    }
    ingest_request_refuse(request, REFUSAL_BEING_STORED, "some of this is being stored: try again shortly");
    return false;
}

void ingest_handoff_stored(struct block *block, uint64_t number)
{
    const struct batch *batch = block->owner;
    origins_stored(batch->ingest->options.origins, &batch->requests->claim, number);
}
