// SPDX-License-Identifier: Apache-2.0
// What ingest.c (the flow of a request), ingest_batch.c (open blocks, commit) and ingest_answer.c (heads and answers of
// both transports) share. Everything here belongs to one loop's thread.
#ifndef WEIR_RELAY_INGEST_PRIV_H
#define WEIR_RELAY_INGEST_PRIV_H

#include "proto/encoding.h"
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "proto/walk.h"
#include "relay/ingest.h"

// One export on its way to the disk.
struct request {
    struct request *next;
    struct ingest *ingest;
    struct exchange *exchange; // NULL: the client left, or was told that its deadline passed
    enum exchange_transport transport;
    enum weir_signal signal;
    enum encoding encoding;        // announced
    struct grpc_deframer deframer; // gRPC
    bool json;                     // the body is OTLP/JSON: `raw` is, until it has come in whole
    bool plain;                    // the message is not compressed whatever was announced (G9)
    struct decoder *decoder;       // borrowed from the ingest while the body comes in; NULL for plain
    struct weir_buf raw;           // the decoded request, until it is in the open block
    uint64_t declared_bytes;       // of the body on the wire; 0: not known
    uint64_t wire_bytes;           // of the body so far, gRPC's prefix apart
    uint64_t promised_bytes;       // counted in budget.promised
    uint64_t ahead_bytes;          // the part of them that has not come; counted in budget.ahead
    uint64_t paused_before_ns;     // of ingest_paused_ns, when it began
    bool receiving;                // in the list of those whose body is still coming
    struct request *receiving_prev, *receiving_next;
    uint64_t started_ns, received_unix_ns;
    uint64_t items, raw_bytes; // raw_bytes: once it is in a block
    uint64_t time_min_ns, time_max_ns;
    struct loop_timer deadline; // grpc-timeout
    struct origin_claim claim;  // of another weir's export; it has a block of its own then
};

// What one commit will answer for: the requests of one block.
struct batch {
    struct loop_message message; // from the writer back to the loop
    struct ingest *ingest;
    struct block *block;
    struct request *requests;
    uint64_t raw_bytes;
    int result;
};

struct open_block {
    struct block_builder *builder;
    struct request *first, **last;
};

// Requests of one signal and one envelope that is not empty, on their way into one block. They are compressed all together when the block is
// sealed, by the signal's one compressor for such: many tenants cost no memory but that of their requests, which is promised to those.
struct gathering {
    struct weir_buf envelope;
    struct request *first, **last;
    uint32_t requests;
    uint64_t raw_bytes;
};
#define INGEST_GATHERINGS 64 // of one signal; for a further one the oldest is sealed
struct gatherings {
    struct gathering
        *at[INGEST_GATHERINGS]; // the first `count` in the order they were begun; the others are spare, or NULL
    size_t count;
    struct block_builder *builder; // made for the first one; empty but while one is sealed
};

#define INGEST_ZSTD_LEVEL     1           // faster than 3 and, on OTLP, not worse
#define INGEST_RAW_KEPT_BYTES (16 * 1024) // of a request that has been compressed
#define INGEST_SPARE_REQUESTS 128
#define INGEST_SPARE_DECODERS 16

struct ingest {
    struct ingest_options options;
    struct server *server;
    struct open_block open[WEIR_SIGNALS]; // of what has an empty envelope
    struct gatherings gatherings[WEIR_SIGNALS];
    struct weir_buf envelope; // of the request at hand
    struct loop_later hand_over;
    uint32_t at_writer;       // batches handed over and not yet answered
    uint64_t unwritten_bytes; // this loop's part of budget->unwritten
    bool paused;
    uint64_t paused_since_ns, paused_ns; // the pauses that have ended
    struct request *receiving;           // newest first
    struct request *spare;               // finished ones, kept with a small buffer
    uint32_t spare_count;
    struct decoder *decoders[ENCODINGS][INGEST_SPARE_DECODERS];
    uint32_t decoder_count[ENCODINGS];
    struct loop_message finish; // ingest_finish: from any thread to the loop
    bool finishing;
    void (*finished)(void *ctx); // once finishing: called when nothing is open or at the writer
    void *finished_ctx;
    struct ingest_counters counters;
};

// ingest_answer.c ---------------------------------------------------------------------------------------------------------
// Reads the head. False: *why and `text` say what to answer.
bool ingest_read_head(const struct exchange *exchange, struct request *request, uint64_t *timeout_ns, enum refusal *why,
                      struct weir_err *err);
void ingest_answer_ok(struct exchange *exchange, bool repeated); // repeated: nothing was stored, it was there
void ingest_answer_refusal(struct exchange *exchange, enum refusal why, const char *text);
// Some of it was stored before: `repeat` (handoff.h) says how it is to be sent.
void ingest_answer_part(struct exchange *exchange, const char *repeat);

// Puts the request's kept headers, its claim and `alone` into ingest->envelope. False: *why and `err` say what to answer.
bool ingest_read_envelope(struct request *request, bool alone, enum refusal *why, struct weir_err *err);

// ingest_gather.c ---------------------------------------------------------------------------------------------------------
// Takes the request to the others of its envelope, ingest->envelope; `alone`: there are no others, and its block is written at once. Blocks that
// are to be written at once are put at *last, which moves on to their end.
void ingest_gather(struct request *request, bool alone, struct block ***last);
// Seals all gatherings of that signal.
void ingest_gather_seal(struct ingest *ingest, enum weir_signal signal, struct block ***last);
void ingest_gather_dispose(struct ingest *ingest);

// ingest_batch.c ----------------------------------------------------------------------------------------------------------
int ingest_batch_init(struct ingest *ingest);
void ingest_batch_dispose(struct ingest *ingest);
// Puts the walked request into the open block of its signal and envelope; owns it from here on, whatever happens.
void ingest_batch_add(struct request *request, const struct otlp_summary *summary);
// Seals what is in `builder`, the block of `requests`. NULL when it could not be: they have been refused then.
struct block *ingest_batch_seal(struct ingest *ingest, struct block_builder *builder, struct request *requests);
// Bytes that came into open blocks, or, negative, left them unwritten or were answered.
void ingest_batch_count(struct ingest *ingest, int64_t bytes);
void ingest_refuse_all(struct request *requests, enum refusal why, const char *text);

// ingest.c ------------------------------------------------------------------------------------------------------------------
// Gives back what the request holds and keeps or frees the record.
void ingest_request_free(struct request *request);
// Answers (when somebody still waits), counts and frees.
void ingest_request_refuse(struct request *request, enum refusal why, const char *text);
void ingest_request_refuse_part(struct request *request, const char *repeat); // ingest_answer_part
void ingest_request_accept(struct request *request);

// ingest_handoff.c ------------------------------------------------------------------------------------------------------------
// Of an export of another weir: finds out whether it was stored before. False: it was, or some of it, and the request was answered and is gone.
bool ingest_handoff_admit(struct request *request);
// Its block is durable: in the writer's thread.
void ingest_handoff_stored(struct block *block, uint64_t number);

// ingest_body.c -------------------------------------------------------------------------------------------------------------
// Each returns false when it refused the request, which is gone then.
// HTTP with a Content-Length is promised its room now, gRPC at the message's prefix at the latest, anything else as it grows.
bool ingest_take_length(struct request *request, uint64_t length);
bool ingest_take_encoding(struct request *request);
// The prefix of a gRPC message is complete: size and compression are known (G9, G10, G14, G15).
bool ingest_take_prefix(struct request *request);
// Bytes of the (possibly compressed) body.
bool ingest_take_payload(struct request *request, struct weir_slice data);
// The body has come in whole: afterwards `raw` is protobuf.
bool ingest_take_end(struct request *request);
void ingest_decoder_give(struct request *request);

// ingest_budget.c -----------------------------------------------------------------------------------------------------------
// Raises what is promised to the request to `bytes`, at the cost of others that come slowly. False: there is no room. Other requests may be
// refused meanwhile, never this one.
bool ingest_promise(struct request *request, uint64_t bytes);
// The same for what it declares, as far as ordinary requests go, so that the rest of a burst is refused before its bytes are read.
bool ingest_promise_ahead(struct request *request);
// What has come is no promise ahead any more; `whole`: nothing is.
void ingest_promise_earned(struct request *request, bool whole);
void ingest_receiving_add(struct request *request);
void ingest_receiving_remove(struct request *request); // also when it is not there
// How long this loop has not been reading, all in all.
uint64_t ingest_paused_ns(const struct ingest *ingest, uint64_t now_ns);

#endif
