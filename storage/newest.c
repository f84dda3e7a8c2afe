// SPDX-License-Identifier: Apache-2.0
#include "storage/newest.h"

struct blob *blob_new(struct weir_buf *bytes)
{
    struct blob *blob = calloc(1, sizeof(*blob));
    if (blob == NULL)
        return NULL;
    atomic_init(&blob->refs, 1);
    blob->bytes = *bytes;
    *bytes = (struct weir_buf){0};
    return blob;
}

void blob_release(struct blob *blob)
{
    if (blob == NULL || atomic_fetch_sub(&blob->refs, 1) != 1)
        return;
    weir_buf_free(&blob->bytes);
    free(blob);
}

void newest_init(struct newest *newest)
{
    memset(newest, 0, sizeof(*newest));
    pthread_mutex_init(&newest->lock, NULL);
}

static void forget_oldest(struct newest *newest)
{
    struct blob *blob = newest->at[newest->first % NEWEST_BLOCKS].blob;
    newest->first++;
    if (blob == NULL)
        return;
    newest->bytes -= blob->bytes.cap;
    blob_release(blob);
}

void newest_destroy(struct newest *newest)
{
    while (newest->first < newest->end)
        forget_oldest(newest);
    pthread_mutex_destroy(&newest->lock);
}

void newest_restart(struct newest *newest, uint64_t number)
{
    pthread_mutex_lock(&newest->lock);
    while (newest->first < newest->end)
        forget_oldest(newest);
    newest->first = newest->end = number;
    pthread_mutex_unlock(&newest->lock);
}

void newest_add(struct newest *newest, uint64_t number, struct block *block)
{
    struct blob *blob = block->value.cap <= NEWEST_VALUE_BYTES ? blob_new(&block->value) : NULL;
    pthread_mutex_lock(&newest->lock);
    assert(number == newest->end);
    while (newest->end - newest->first >= NEWEST_BLOCKS ||
           (newest->first < newest->end && newest->bytes > NEWEST_BYTES))
        forget_oldest(newest);
    newest->at[number % NEWEST_BLOCKS].blob = blob;
    newest->at[number % NEWEST_BLOCKS].signal = block->signal;
    newest->bytes += blob != NULL ? blob->bytes.cap : 0;
    newest->end++;
    pthread_mutex_unlock(&newest->lock);
}

struct blob *newest_find(struct newest *newest, enum weir_signal signal, uint64_t *from, uint64_t end)
{
    struct blob *blob = NULL;
    pthread_mutex_lock(&newest->lock);
    if (end > newest->end)
        end = newest->end;
    if (*from >= newest->first) {
        while (*from < end && newest->at[*from % NEWEST_BLOCKS].signal != signal)
            (*from)++;
        if (*from < end)
            blob = newest->at[*from % NEWEST_BLOCKS].blob;
        if (blob != NULL)
            atomic_fetch_add(&blob->refs, 1);
    }
    pthread_mutex_unlock(&newest->lock);
    return blob;
}

bool newest_header(struct newest *newest, uint64_t number, struct block_header *out)
{
    bool found = false;
    pthread_mutex_lock(&newest->lock);
    if (number >= newest->first && number < newest->end) {
        struct blob *blob = newest->at[number % NEWEST_BLOCKS].blob;
        if (blob != NULL)
            found = block_header_get((struct weir_slice){blob->bytes.data, blob->bytes.len}, out, NULL) == WEIR_OK;
    }
    pthread_mutex_unlock(&newest->lock);
    return found;
}
