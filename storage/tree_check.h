// SPDX-License-Identifier: Apache-2.0
// Looks at the structure of an LMDB file before LMDB does. LMDB trusts its pages: a truncated or bit-flipped file makes it
// read through wild pointers. Private to storage.
#ifndef WEIR_STORAGE_TREE_CHECK_H
#define WEIR_STORAGE_TREE_CHECK_H

#include "proto/base.h"
#include "proto/err.h"

#define TREE_CHECK_FOR_WRITING 1u // also what only a writer looks at: the list of free pages, headers of overflow pages

// Checks every page of every tree in the file: bounds, types, depth, order of integer keys, no page used twice, and that the
// file is as long as its last page says. Values are not read: they carry their own checksums. Reads the tree pages only.
// WEIR_E_CORRUPT, WEIR_E_IO, WEIR_E_NOMEM. The file must not be written meanwhile.
int tree_check_file(const char *path, unsigned flags, struct weir_err *err);

#endif
