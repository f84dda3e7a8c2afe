// SPDX-License-Identifier: Apache-2.0
// The spool's directory and its files. Private to storage.
#ifndef WEIR_STORAGE_SPOOL_DIR_H
#define WEIR_STORAGE_SPOOL_DIR_H

#include "storage/spool.h"

#define SPOOL_PATH_MAX           4096u
#define SPOOL_SEGMENT_NAME       "seg-%020llu.mdb"
#define SPOOL_SEGMENT_NAME_BYTES 28u

int spool_path(const struct spool *spool, const char *name, char out[SPOOL_PATH_MAX], struct weir_err *err);
int spool_segment_path(const struct spool *spool, uint64_t first, char out[SPOOL_PATH_MAX], struct weir_err *err);
int spool_sync_directory(struct spool *spool, struct weir_err *err);
// Makes the directory's own name durable: before anything in a new spool is.
int spool_sync_parent(struct spool *spool, struct weir_err *err);
// Number in a segment's name; false: it is not one.
bool spool_segment_number(const char *name, uint64_t *first);
// Whether it is a file that salvaging has not finished: as long as there is one, the directory is no spool.
#define SPOOL_UNFINISHED ".unfinished"
bool spool_name_unfinished(const char *name);
int spool_set_aside(struct spool *spool, const char *name, struct weir_err *err); // to <name>.damaged
// Opens, checks and locks the directory. Nothing in it is changed but LOCK, and that only by spool_dir_sign.
int spool_dir_open(struct spool *spool, const struct spool_options *options, struct weir_err *err);
int spool_dir_sign(struct spool *spool, const char *holder, struct weir_err *err);
typedef int (*spool_file_fn)(void *ctx, const char *name, struct weir_err *err);
int spool_dir_each(const struct spool *spool, spool_file_fn each, void *ctx, struct weir_err *err);

#endif
