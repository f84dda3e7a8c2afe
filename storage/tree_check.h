// SPDX-License-Identifier: Apache-2.0
// Looks at the structure of an LMDB file before LMDB does. LMDB trusts its pages: a truncated or bit-flipped file makes it
// read through wild pointers. For the files that weir writes itself and keeps open, the lanes' state and the dead letters. Private to storage.
#ifndef WEIR_STORAGE_TREE_CHECK_H
#define WEIR_STORAGE_TREE_CHECK_H

#include "proto/base.h"
#include "proto/err.h"

// Checks every page of every tree in the file: bounds, types, depth, order of integer keys, no page used twice, the list of free pages,
// and that the file is as long as its last page says. Values are not read: they carry their own checksums. Reads the tree pages only,
// one by one. WEIR_E_CORRUPT, WEIR_E_IO (the disk does not give a page; the text says what a person can do), WEIR_E_NOT_FOUND, WEIR_E_NOMEM. The file
// must not be written meanwhile.
int tree_check_file(const char *path, struct weir_err *err);

#endif
