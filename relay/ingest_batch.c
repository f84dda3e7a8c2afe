// SPDX-License-Identifier: Apache-2.0
// Open blocks and their way to the disk: the group commit.
//
// Happy path: requests of one turn of the loop collect in the open block of their signal (ingest_gather.c: and of their kept headers); nothing of ours is at the writer, so
// the blocks are sealed and handed over at the end of the turn. While the writer works the next block grows (to 1 MiB, then
// another one is begun); its completion hands that over. No linger, no delay: the queue that builds up is the batch.
// Failure modes: no memory to compress or to seal -> the requests of that block are refused, retryable. The commit failed -> the
// writer has tried all it can; every request of the block is refused, retryable. A client that left changes nothing.
#include "relay/ingest_priv.h"

#define ENVELOPE_NONE ((struct weir_slice){.data = NULL, .len = 0})

static void on_hand_over(struct loop_later *later);
static void on_written(struct loop_message *message);

int ingest_batch_init(struct ingest *ingest)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        struct open_block *open = &ingest->open[signal];
        open->last = &open->first;
        if ((open->builder = block_builder_new((enum weir_signal)signal, ENVELOPE_NONE, INGEST_ZSTD_LEVEL)) == NULL)
            return WEIR_E_NOMEM;
    }
    return WEIR_OK;
}

void ingest_batch_dispose(struct ingest *ingest)
{
    loop_later_clear(&ingest->hand_over);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++)
        block_builder_free(ingest->open[signal].builder);
    ingest_gather_dispose(ingest);
}

// --- back-pressure ------------------------------------------------------------------------------------------------------

void ingest_batch_count(struct ingest *ingest, int64_t bytes)
{
    ingest->unwritten_bytes += (uint64_t)bytes;
    atomic_fetch_add_explicit(&ingest->options.budget->unwritten, (uint64_t)bytes, memory_order_relaxed);
    uint64_t mark = ingest->options.budget->max_bytes / 4;
    // It cannot stay paused for ever: whatever is unwritten is at the writer or follows it, and the writer always answers.
    if (!ingest->paused && ingest->unwritten_bytes > mark) {
        ingest->paused = true;
        ingest->paused_since_ns = weir_now_ns();
        server_pause(ingest->server, ingest->options.loop);
    } else if (ingest->paused && ingest->unwritten_bytes <= mark / 2) {
        ingest->paused_ns = ingest_paused_ns(ingest, weir_now_ns());
        ingest->paused = false;
        server_resume(ingest->server, ingest->options.loop);
    }
}

// --- to the writer --------------------------------------------------------------------------------------------------------

void ingest_refuse_all(struct request *requests, enum refusal why, const char *text)
{
    while (requests != NULL) {
        struct request *next = requests->next;
        ingest_request_refuse(requests, why, text);
        requests = next;
    }
}

static struct request *open_block_take(struct open_block *open)
{
    struct request *requests = open->first;
    open->first = NULL;
    open->last = &open->first;
    return requests;
}

// In the writer's thread: the commit has ended. Only passes the word on.
static void on_done(struct block *block, int result)
{
    struct batch *batch = block->owner;
    batch->result = result;
    loop_send(batch->ingest->options.loop, &batch->message);
}

struct block *ingest_batch_seal(struct ingest *ingest, struct block_builder *builder, struct request *requests)
{
    uint64_t raw_bytes = block_builder_raw_bytes(builder);
    struct batch *batch = malloc(sizeof(*batch));
    struct block *block = NULL;
    struct weir_err err = {0};
    if (batch == NULL || block_builder_seal(builder, &block, &err) != WEIR_OK) {
        free(batch);
        block_builder_discard(builder);
        ingest_refuse_all(requests, REFUSAL_INTERNAL, "out of memory");
        ingest_batch_count(ingest, -(int64_t)raw_bytes);
        return NULL;
    }
    *batch = (struct batch){
        .message = {.run = on_written}, .ingest = ingest, .block = block, .requests = requests, .raw_bytes = raw_bytes};
    block->owner = batch;
    block->next = NULL;
    if (requests->claim.origin != NULL) { // it is the only one
        assert(requests->next == NULL);
        block->stored = ingest_handoff_stored;
    }
    ingest->at_writer++;
    return block;
}

// Seals the open block, if there is anything in it, and puts it at *last.
static void seal(struct ingest *ingest, struct open_block *open, struct block ***last)
{
    if (open->first == NULL)
        return;
    struct block *block = ingest_batch_seal(ingest, open->builder, open_block_take(open));
    if (block == NULL)
        return;
    **last = block;
    *last = &block->next;
}

static void append(struct ingest *ingest, struct block *chain)
{
    if (chain != NULL)
        spool_append(ingest->options.spool, chain, on_done);
}

static void hand_over(struct ingest *ingest)
{
    struct block *chain = NULL, **last = &chain;
    loop_later_clear(&ingest->hand_over);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        seal(ingest, &ingest->open[signal], &last);
        ingest_gather_seal(ingest, (enum weir_signal)signal, &last);
    }
    append(ingest, chain);
}

static void on_hand_over(struct loop_later *later)
{
    struct ingest *ingest = WEIR_CONTAINER_OF(later, struct ingest, hand_over);
    if (ingest->at_writer == 0)
        hand_over(ingest);
}

static void finish_if_idle(struct ingest *ingest)
{
    if (ingest->finishing && ingest->at_writer == 0)
        ingest->finished(ingest->finished_ctx);
}

// Back in the loop: the only place where OK is said.
static void on_written(struct loop_message *message)
{
    struct batch *batch = WEIR_CONTAINER_OF(message, struct batch, message);
    struct ingest *ingest = batch->ingest;
    ingest->at_writer--;
    // The next blocks go first, so that the writer works while the answers are written.
    if (ingest->at_writer == 0)
        hand_over(ingest);
    switch (batch->result) {
    case WEIR_OK:
        while (batch->requests != NULL) {
            struct request *next = batch->requests->next;
            ingest_request_accept(batch->requests);
            batch->requests = next;
        }
        break;
    case WEIR_E_FULL:
        ingest_refuse_all(batch->requests, REFUSAL_SPOOL_FULL,
                          "the spool is full: data is taken again as soon as the upstreams have taken some");
        break;
    case WEIR_E_CLOSED:
        ingest_refuse_all(batch->requests, REFUSAL_SHUTTING_DOWN, "weir is shutting down");
        break;
    default:
        ingest_refuse_all(batch->requests, REFUSAL_DISK_FAILED, "the spool's disk failed to make the data durable");
    }
    ingest_batch_count(ingest, -(int64_t)batch->raw_bytes);
    block_free(batch->block);
    free(batch);
    finish_if_idle(ingest);
}

// --- end --------------------------------------------------------------------------------------------------------------------

static void on_finish(struct loop_message *message)
{
    struct ingest *ingest = WEIR_CONTAINER_OF(message, struct ingest, finish);
    ingest->finishing = true;
    if (ingest->at_writer == 0)
        hand_over(ingest);
    finish_if_idle(ingest);
}

void ingest_finish(struct ingest *ingest, void (*done)(void *ctx), void *ctx)
{
    ingest->finish = (struct loop_message){.run = on_finish};
    ingest->finished_ctx = ctx;
    ingest->finished = done;
    loop_send(ingest->options.loop, &ingest->finish);
}

// --- in ----------------------------------------------------------------------------------------------------------------------

// Puts the request behind those of `open`. False: it could not be, and none of them is there any more.
static bool open_block_add(struct open_block *open, struct request *request)
{
    struct ingest *ingest = request->ingest;
    uint64_t raw_bytes = request->raw.len;
    struct block_request kept = {.items = request->items,
                                 .time_min_ns = request->time_min_ns,
                                 .time_max_ns = request->time_max_ns,
                                 .received_ns = request->received_unix_ns};
    struct weir_err err = {0};
    request->raw_bytes = raw_bytes;
    request->next = NULL;
    *open->last = request;
    open->last = &request->next;
    if (block_builder_add(open->builder, (struct weir_slice){request->raw.data, raw_bytes}, &kept, &err) != WEIR_OK) {
        // A half-fed frame is of no use: the whole open block goes, and its senders try again.
        uint64_t lost = 0;
        for (struct request *r = open->first; r != NULL; r = r->next)
            lost += r != request ? r->raw_bytes : 0;
        block_builder_discard(open->builder);
        ingest_refuse_all(open_block_take(open), REFUSAL_INTERNAL, err.text);
        ingest_batch_count(ingest, -(int64_t)lost);
        return false;
    }
    // The raw copy has served; its promise stands until the answer.
    if (request->raw.cap > INGEST_RAW_KEPT_BYTES)
        weir_buf_free(&request->raw);
    ingest_batch_count(ingest, (int64_t)raw_bytes);
    return true;
}

static void seal_and_append(struct ingest *ingest, struct open_block *open)
{
    struct block *chain = NULL, **last = &chain;
    seal(ingest, open, &last);
    append(ingest, chain);
}

// A request that must not be joined (an unknown root field: C3) has a block of its own, which says so to the replay workers; what came
// before it goes before it. One with kept headers meets those with the same.
static void add_by_envelope(struct request *request, bool alone)
{
    struct ingest *ingest = request->ingest;
    struct block *chain = NULL, **last = &chain;
    if (alone) {
        seal(ingest, &ingest->open[request->signal], &last);
        ingest_gather_seal(ingest, request->signal, &last);
    }
    ingest_gather(request, alone || request->claim.origin != NULL, &last);
    append(ingest, chain);
    if (ingest->at_writer == 0)
        loop_later_set(ingest->options.loop, &ingest->hand_over, on_hand_over);
}

void ingest_batch_add(struct request *request, const struct otlp_summary *summary)
{
    struct ingest *ingest = request->ingest;
    struct open_block *open = &ingest->open[request->signal];
    bool alone = !summary->mergeable && request->signal != WEIR_PROFILES; // a block of profiles is full with one (C2)
    bool handed;
    enum refusal why = REFUSAL_INTERNAL;
    struct weir_err err = {0};
    request->items = summary->items;
    request->time_min_ns = summary->time_min_ns;
    request->time_max_ns = summary->time_max_ns;
    ingest->envelope.len = 0;
    if (!ingest_handoff_admit(request))
        return;
    handed = request->claim.origin != NULL;
    if ((alone || handed || ingest->options.keep_header_count > 0) &&
        !ingest_read_envelope(request, alone, &why, &err)) {
        ingest_request_refuse(request, why, err.text);
        return;
    }
    if (ingest->envelope.len > 0) {
        add_by_envelope(request, alone);
        return;
    }
    if (block_builder_raw_bytes(open->builder) + request->raw.len > BLOCK_RAW_BYTES_TARGET)
        seal_and_append(ingest, open);
    if (!open_block_add(open, request))
        return;
    if (block_builder_full(open->builder))
        seal_and_append(ingest, open);
    else if (ingest->at_writer == 0)
        loop_later_set(ingest->options.loop, &ingest->hand_over, on_hand_over);
}
