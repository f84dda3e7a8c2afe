// SPDX-License-Identifier: Apache-2.0
// Cuts one export request between its items, on the wire, without a tree: an upstream that refuses a request gets it again in parts.
// Items are counted in the order in which they stand (as otlp_walk counts them, M1-M3); a part is a range of these ordinals.
// Pure, any thread; bounded stack.
#ifndef WEIR_PROTO_OTLP_SPLIT_H
#define WEIR_PROTO_OTLP_SPLIT_H

#include "proto/base.h"
#include "proto/err.h"

// Items of the request. WEIR_E_INVALID: its outer messages are no OTLP. What otlp_walk takes gives otlp_walk's count.
int otlp_split_count(enum weir_signal signal, struct weir_slice request, uint64_t *items, struct weir_err *err);

// Appends a request with exactly the items [from, to), from < to <= its items: each in its resource, scope and metric, with all that these
// hold besides (attributes, schema_url, name, unit, temporality, unknown fields). What is in the request itself goes into every part, so a
// profiles part has the whole dictionary (C7). A resource, scope or metric without items goes with the item behind it, or with the last one.
// The parts of a request hold together what it holds, each item once and in order. WEIR_E_INVALID, WEIR_E_NOMEM: `out` is as it was.
int otlp_split_part(enum weir_signal signal, struct weir_slice request, uint64_t from, uint64_t to,
                    struct weir_buf *out, struct weir_err *err);

// A good place to cut: of the ordinals in [wanted - slack, wanted + slack], one at which a resource begins, else a scope, else a metric
// (of equal ones the nearest), else `wanted`.
uint64_t otlp_split_boundary(enum weir_signal signal, struct weir_slice request, uint64_t wanted, uint64_t slack);

// An index of the request's outer messages, for one that is cut many times: with it a part costs about its own bytes, and a boundary next to
// nothing, where without it each reads the whole request. Making it is one pass like otlp_split_count. It is small: of typical requests below a
// hundredth of their bytes, at most some thousand entries of any. The request's bytes must stay where they are until it is freed.
// `grain`: bytes between its entries; 0: what suits the request. WEIR_E_INVALID: as otlp_split_count. WEIR_E_NOMEM.
struct otlp_split_index;
int otlp_split_index_new(enum weir_signal signal, struct weir_slice request, size_t grain,
                         struct otlp_split_index **out, struct weir_err *err);
void otlp_split_index_free(struct otlp_split_index *index); // NULL: nothing
uint64_t otlp_split_index_items(const struct otlp_split_index *index);
// The same bytes as otlp_split_part, and the same place as otlp_split_boundary.
int otlp_split_index_part(const struct otlp_split_index *index, uint64_t from, uint64_t to, struct weir_buf *out,
                          struct weir_err *err);
uint64_t otlp_split_index_boundary(const struct otlp_split_index *index, uint64_t wanted, uint64_t slack);

#endif
