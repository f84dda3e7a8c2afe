// SPDX-License-Identifier: Apache-2.0
// The writer thread. Happy path: take all that waits, one transaction, default durability, then the completions: what queues up during
// one commit is the next group. The active segment is full: the next one, made ahead by the keeper, gets its record and its name, and
// the old one is sealed.
//
// Failure. A commit that failed may or may not have reached the disk, and may show up after a restart. What keeps this sound:
//   1. A file whose commit failed is never written again. It is sealed where the last good commit ended.
//   2. A segment holds blocks only up to where the next one begins, by name. The same blocks are done again, with the same numbers, in a new
//      segment that begins there; what the failed file may still show is behind its border. One redo, then the callers are told.
//   3. When that fails as well, the file is opened and looked at. Blocks that are not there leave their numbers free. Blocks that are
//      there, or a file that cannot be read, use the numbers up: they count as stored though nobody was told so (the clients will
//      send them again), and other data never gets their numbers.
//   4. A segment takes no block any more once the next one's name has been tried, whether or not that went well.
//   5. OK is said in one place, after an mdb_txn_commit that returned 0 in a file with its name durable.
#include <fcntl.h>
#include <unistd.h>

#include "storage/keeper.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

void spool_append(struct spool *spool, struct block *chain, spool_done_fn done)
{
    struct block **tail = &chain;
    for (struct block *block = chain; block != NULL; block = block->next) {
        block->done = done;
        tail = &block->next;
    }
    if (chain == NULL)
        return;
    pthread_mutex_lock(&spool->queue_lock);
    assert(!spool->queue_closed);
    *spool->queue_tail = chain;
    spool->queue_tail = tail;
    pthread_cond_signal(&spool->queue_filled);
    pthread_mutex_unlock(&spool->queue_lock);
}

// Everything that waits: blocks, or the wish for a new segment. False: the spool closes, and all is done.
static bool queue_take(struct spool *spool, struct block **chain, bool *begin_new)
{
    pthread_mutex_lock(&spool->queue_lock);
    while (spool->queue_head == NULL && !spool->begin_new && !spool->queue_closed)
        pthread_cond_wait(&spool->queue_filled, &spool->queue_lock);
    *chain = spool->queue_head;
    *begin_new = spool->begin_new && !spool->queue_closed;
    spool->queue_head = NULL;
    spool->queue_tail = &spool->queue_head;
    spool->begin_new = false;
    pthread_mutex_unlock(&spool->queue_lock);
    return *chain != NULL || *begin_new;
}

// Gives `n` blocks back; returns the rest. A callback may free its block.
static struct block *complete(struct block *chain, size_t n, int code)
{
    while (n-- > 0) {
        struct block *next = chain->next;
        chain->next = NULL;
        chain->done(chain, code);
        chain = next;
    }
    return chain;
}

// The next segment's file: the spare, or one made here when the keeper is behind or the block is larger than a segment. Its room is claimed:
// file->bytes are to be given back once it has a name, or is gone.
static int take_file(struct spool *spool, uint64_t bytes, struct segment_file **file, char path[SPOOL_PATH_MAX],
                     struct weir_err *err)
{
    pthread_mutex_lock(&spool->spare_lock);
    *file = spool->spare != NULL && spool->spare->bytes >= bytes ? spool->spare : NULL;
    if (*file != NULL) {
        space_keep(spool, (*file)->bytes);
        spool->spare = NULL;
        memcpy(path, spool->spare_path, SPOOL_PATH_MAX);
    }
    unsigned long long temporary = spool->temporaries++;
    pthread_mutex_unlock(&spool->spare_lock);
    if (*file != NULL)
        return WEIR_OK;
    if (bytes < spool->segment_bytes)
        bytes = spool->segment_bytes;
    char name[64];
    snprintf(name, sizeof(name), "next-%llu.tmp", temporary);
    int code = spool_path(spool, name, path, err);
    if (code == WEIR_OK)
        code = keeper_ask_room(spool, bytes, err);
    if (code == WEIR_OK)
        code = space_claim(spool, bytes, err);
    if (code == WEIR_E_FULL && keeper_drop_spare(spool)) // too small for this block, and in its way
        code = space_claim(spool, bytes, err);
    if (code != WEIR_OK)
        return code;
    code = segment_file_create(path, bytes, file, err);
    space_made(spool, bytes);
    if (code != WEIR_OK)
        space_give(spool, bytes);
    return code;
}

static void publish_active(struct spool *spool, struct segment *segment)
{
    pthread_mutex_lock(&spool->lock);
    if (spool->active != NULL)
        spool->active->disk_bytes = 0; // sealed: it is another than when somebody asked last
    spool->active = segment;
    pthread_mutex_unlock(&spool->lock);
    struct segment_file *file = segment != NULL ? segment->file : NULL;
    atomic_store(&spool->active_room_pages, file != NULL ? file->bytes / SEGMENT_PAGE - file->last_page : 0);
}

// Closes the active segment's file; readers open it from now on. `path` NULL after a failure: the file is left as it is.
static void seal_active(struct spool *spool, const char *path)
{
    struct segment *segment = spool->active;
    if (segment == NULL)
        return;
    turn_take(&spool->turn);
    struct segment_file *file = segment->file;
    segment->file = NULL;
    segment_file_close(file, path);
    publish_active(spool, NULL);
    turn_give(&spool->turn);
}

// Takes a segment without a block in it out of the catalog, so that another can have its number.
static void drop_if_empty(struct spool *spool, uint64_t first)
{
    uint64_t limit;
    struct segment *segment = catalog_pin(spool, first, &limit);
    if (segment == NULL)
        return;
    if (segment->first == first)
        catalog_remove(spool, segment);
    segment_unpin(segment);
}

// Seals the active segment, whole, because a new one begins at `first`.
static void seal_before(struct spool *spool, uint64_t first)
{
    char path[SPOOL_PATH_MAX];
    if (spool->active == NULL)
        return;
    // All that retention must know of it, without reading it again.
    pthread_mutex_lock(&spool->lock);
    spool->active->end_known = spool->active->facts_known = true;
    spool->active->end = first;
    spool->active->end_counts = spool->counts;
    pthread_mutex_unlock(&spool->lock);
    bool trim = spool->active->first != first && spool_segment_path(spool, spool->active->first, path, NULL) == WEIR_OK;
    seal_active(spool, trim ? path : NULL);
}

// Record, name, directory: from here on the file is segment `first`. The old one is sealed before the name is tried: should the
// directory's flush fail, the name may be there after a crash all the same, and then whatever the old one took meanwhile would lie
// behind its border.
static int name_file(struct spool *spool, struct segment_file *file, const char *temporary, uint64_t first,
                     struct weir_err *err)
{
    struct segment_record record = {.first = first, .created_ns = weir_now_unix_ns(), .before = spool->counts};
    char path[SPOOL_PATH_MAX];
    int code = spool_segment_path(spool, first, path, err);
    if (code == WEIR_OK)
        code = segment_file_start(file, &record, err);
    if (code != WEIR_OK)
        return code;
    seal_before(spool, first);
    if (rename(temporary, path) != 0)
        return errno_fail(err, "rename to", path);
    return spool_sync_directory(spool, err);
}

// A new active segment that begins at next_block. As long as there is no file for it, the old one stays for blocks that still fit.
static int begin_segment(struct spool *spool, uint64_t bytes, uint64_t *claimed, struct weir_err *err)
{
    char temporary[SPOOL_PATH_MAX];
    struct segment_file *file = NULL;
    uint64_t first = atomic_load(&spool->next_block);
    struct segment *segment = segment_new(spool, first);
    int code = segment == NULL ? weir_fail(err, WEIR_E_NOMEM, "next segment: out of memory")
                               : take_file(spool, bytes, &file, temporary, err);
    *claimed = file != NULL ? file->bytes : 0;
    if (code == WEIR_OK)
        code = name_file(spool, file, temporary, first, err);
    if (code != WEIR_OK) {
        segment_file_close(file, NULL);
        if (file != NULL)
            unlink(temporary);
        segment_free(segment);
        return code;
    }
    assert(segment != NULL && file != NULL);
    drop_if_empty(spool, first);
    segment->file = file;
    segment->begin_counts = spool->counts;
    if (!catalog_add(spool, segment)) {
        segment->file = NULL;
        segment_file_close(file, NULL);
        segment_free(segment);
        return weir_fail(err, WEIR_E_NOMEM, "next segment: out of memory");
    }
    publish_active(spool, segment);
    return WEIR_OK;
}

static int next_segment(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    uint64_t claimed = 0;
    int code = begin_segment(spool, bytes, &claimed, err);
    space_give(spool, claimed); // it is counted by its name now, or gone
    if (code == WEIR_OK)
        keeper_wake(spool); // to make the next spare
    return code;
}

// When the blocks of the active segment were received, for retention. While they have their values.
static void note_received(struct spool *spool, const struct block *chain, size_t n)
{
    struct segment *segment = spool->active;
    pthread_mutex_lock(&spool->lock);
    for (; n > 0; n--, chain = chain->next) {
        struct block_header h;
        if (block_header_get((struct weir_slice){chain->value.data, chain->value.len}, &h, NULL) != WEIR_OK)
            continue;
        if (segment->received_first_ns == 0)
            segment->received_first_ns = h.received_first_ns;
        segment->received_last_ns = h.received_last_ns;
    }
    pthread_mutex_unlock(&spool->lock);
}

static void tell_stored(struct spool *spool, struct block *chain, size_t n)
{
    uint64_t number = atomic_load(&spool->next_block);
    for (; n > 0; n--, number++, chain = chain->next)
        if (chain->stored != NULL)
            chain->stored(chain, number);
}

// After a commit that returned OK, or whose blocks must count as stored: the numbers are used and the blocks can be read.
static void advance(struct spool *spool, struct block *chain, size_t n, const struct spool_counts *counts, bool keep)
{
    uint64_t number = atomic_load(&spool->next_block);
    if (!keep)
        newest_restart(&spool->newest, number + n);
    for (size_t i = 0; i < n && keep; i++, chain = chain->next)
        newest_add(&spool->newest, number + i, chain);
    pthread_mutex_lock(&spool->lock);
    spool->counts = *counts;
    atomic_store(&spool->next_block, number + n);
    pthread_mutex_unlock(&spool->lock);
}

// One transaction in the active segment, in the writer's turn.
static int commit(struct spool *spool, struct block *chain, size_t n, struct spool_counts *counts, bool *again,
                  struct weir_err *err)
{
    struct segment_file *file = spool->active->file;
    uint64_t begun_ns = weir_now_ns(), requests = 0, pages_before = file->last_page;
    turn_take(&spool->turn);
    int code = segment_file_append(file, chain, n, atomic_load(&spool->next_block), counts, again, err);
    turn_give(&spool->turn);
    double seconds = (double)(weir_now_ns() - begun_ns) / 1e9;
    for (struct block *block = chain; n > 0; n--, block = block->next)
        requests += block->requests;
    pthread_mutex_lock(&spool->lock);
    if (code == WEIR_OK) {
        spool->commits++;
        spool->committed_requests += requests;
        spool->written_pages += file->last_page - pages_before;
        histogram_add(&spool->commit_seconds, seconds);
        histogram_add(&spool->requests_per_commit, (double)requests);
    } else if (!*again) {
        spool->commit_failures++;
    }
    pthread_mutex_unlock(&spool->lock);
    atomic_store(&spool->active_room_pages, file->bytes / SEGMENT_PAGE - file->last_page);
    return code;
}

// Whether segment `first`, whose commit failed, may show blocks from `number` on: it does, or its tree cannot be read. In a file whose
// tree is damaged the pages of the failed transaction would be found one by one.
static bool may_show(struct spool *spool, uint64_t first, uint64_t number)
{
    char path[SPOOL_PATH_MAX];
    struct segment_read *read;
    if (spool_segment_path(spool, first, path, NULL) != WEIR_OK ||
        segment_read_open(path, first, &read, NULL) != WEIR_OK)
        return true;
    bool shows = segment_read_scanned(read) || segment_read_end(read) > number;
    segment_read_close(read);
    return shows;
}

// Seals the segment whose commit failed and does the same blocks again, once. See the head of this file.
static int redo(struct spool *spool, struct block *chain, size_t n, struct spool_counts *counts, struct weir_err *err)
{
    uint64_t number = atomic_load(&spool->next_block), failed[2] = {spool->active->first, 0};
    uint64_t bytes = spool->active->file->bytes; // they fitted in there
    size_t failed_n = 1;
    bool again = false, used = false;
    seal_active(spool, NULL);
    int code = next_segment(spool, bytes, err);
    if (code == WEIR_OK) {
        code = commit(spool, chain, n, counts, &again, err);
        if (code == WEIR_OK)
            return WEIR_OK;
        failed[failed_n++] = spool->active->first;
        seal_active(spool, NULL);
    }
    for (size_t i = 0; i < failed_n; i++)
        used = used || may_show(spool, failed[i], number);
    if (!used) {
        drop_if_empty(spool, number);
        return code;
    }
    struct spool_counts after = spool->counts;
    struct block *block = chain;
    for (size_t i = 0; i < n; i++, block = block->next) {
        after.blocks[block->signal]++;
        after.items[block->signal] += block->items;
        after.raw_bytes[block->signal] += block->raw_bytes;
        after.stored_bytes += block->value.len;
    }
    advance(spool, chain, n, &after, false);
    return code;
}

// How many blocks of the chain go into the active segment, in one transaction.
static size_t how_many_fit(struct spool *spool, const struct block *chain)
{
    size_t n = 0;
    uint64_t pages = 0, bytes = 0;
    if (spool->active == NULL)
        return 0;
    for (; chain != NULL; chain = chain->next, n++) {
        bytes += chain->value.len;
        if ((n > 0 && bytes > SPOOL_TXN_BYTES) || !segment_file_fits(spool->active->file, chain->value.len, &pages))
            break;
    }
    return n;
}

// Stores the first blocks of the chain, as many as fit; *n says how many the result is about.
static int store(struct spool *spool, struct block *chain, size_t *n, struct weir_err *err)
{
    uint64_t bytes = segment_bytes_for(chain->value.len);
    struct spool_counts counts = spool->counts;
    bool again = true;
    int code = WEIR_E_FULL;
    // Twice at most: when the map is full though it was not reckoned to be, nothing happened to the file, and a new one takes the block.
    for (unsigned tries = 0; again && tries < 2; tries++) {
        *n = tries == 0 ? how_many_fit(spool, chain) : 0;
        if (*n == 0) {
            *n = 1;
            code = chain->value.len > BLOCK_VALUE_MAX
                       ? weir_fail(err, WEIR_E_FULL, "block of %zu bytes", chain->value.len)
                       : next_segment(spool, bytes, err);
            if (code != WEIR_OK)
                return code;
            *n = how_many_fit(spool, chain);
            assert(*n > 0);
        }
        code = commit(spool, chain, *n, &counts, &again, err);
    }
    if (code != WEIR_OK && !again)
        code = redo(spool, chain, *n, &counts, err);
    if (code == WEIR_OK) {
        tell_stored(spool, chain, *n);
        note_received(spool, chain, *n);
        advance(spool, chain, *n, &counts, true);
    }
    return code;
}

// The keeper's wish: without room it stays as it is, and the keeper asks again.
static void begin_new(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    struct segment *last = spool->segments_n > 0 ? spool->segments[spool->segments_n - 1] : NULL;
    bool empty = last == NULL || last->first == atomic_load(&spool->next_block);
    pthread_mutex_unlock(&spool->lock);
    if (!empty)
        next_segment(spool, spool->segment_bytes, NULL);
}

static unsigned signals_of(const struct block *chain, size_t n)
{
    unsigned signals = 0;
    for (; n > 0; n--, chain = chain->next)
        signals |= 1u << chain->signal;
    return signals;
}

void *writer_main(void *arg)
{
    struct spool *spool = arg;
    struct block *chain;
    bool new_wanted;
    while (queue_take(spool, &chain, &new_wanted)) {
        if (new_wanted)
            begin_new(spool);
        while (chain != NULL) {
            struct weir_err err = {0};
            size_t n;
            int code = store(spool, chain, &n, &err);
            if (code == WEIR_OK && spool->on_commit != NULL)
                spool->on_commit(spool->ctx, signals_of(chain, n));
            if (code != WEIR_OK) {
                spool_set_state(spool, spool_state_of(code), err.text);
                code = code == WEIR_E_FULL ? WEIR_E_FULL : WEIR_E_IO;
                keeper_wake(spool);
            }
            chain = complete(chain, n, code);
        }
    }
    return NULL;
}
