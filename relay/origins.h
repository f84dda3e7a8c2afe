// SPDX-License-Identifier: Apache-2.0
// Effectively once between two weirs, the receiver's side: what it has made durable of the data of others that are a weir (origins), so that
// what an origin sends again, because it did not hear the answer, is acknowledged and not stored again.
//
// The argument.
//  1. Every export of an origin says which positions (handoff.h: block, item) of one scope it covers, exactly. A scope is a random number that
//     names a run of blocks as one process of the origin wrote them, for one lane (replay_handoff.c): the same position in the same scope is the
//     same data, for ever, also when the origin's spool was copied, or set back to an old snapshot and went on from there differently.
//  2. Per scope there is a set of positions that are stored durably here ("held"), and a list of claims: those of requests that are on their
//     way to the disk. Under one lock a request that comes in is judged by both:
//       all of it held -> OK, nothing stored · nothing held or claimed -> it claims, and is stored · some of it claimed -> put off, for a second
//       · some of it held -> refused, with the place up to which it is the same, so that the origin sends it in parts that are all or nothing.
//     So of each position one copy is stored, however late a copy of a request comes (kept by a proxy, in a socket's buffer), in whatever order,
//     over however many connections, and whatever blocks each attempt joined. Nothing needs to be asked or fenced before sending again.
//  3. LOW: the origin says below which block it needs nothing any more, durably. What lies below does not count as held for that: it may have been
//     given up (evicted, dead letters), and is pending again when that spool is set back to a snapshot. But there is not room for every gap
//     between what is held: when there are too many, the narrowest one below LOW is closed. A replay of the past by command must be sent
//     again: it is another scope.
//  4. The set is durable when the data is: the handoff is kept in the block's envelope, in the same transaction as the data. Notes in the spool's
//     state hold the sets up to some block, and what is behind that is read at start. A note is put after the commit, and before the block can be
//     read, thus before any settlement of it (block.stored): when a block's segment goes, the notes that were put before are durable.
//  5. What this process holds it has acknowledged or not, it does not matter: an answer that is lost is given again.
//
// What it does not do. It holds for one receiver's spool: another replica behind the same address does not know what this one stored, so there
// duplicates stay bounded by what was in flight. What is forgotten may come twice, and is counted: origins beyond ORIGINS_MAX (those that were
// not heard of for longest), spans beyond POSITIONS_MAX, notes for which the disk has no room until a restart. After a write error the writer may
// have stored what it reports as failed: that may come twice, too. Data that was lost here after its OK (evicted, damaged) is in this spool's
// ledger and stays held: the origin has handed it over. A spool whose state was lost has no notes; neither has an empty one.
// A client can only speak for a scope it knows, and scopes are random: it cannot make this weir drop another origin's data without having
// seen that one's requests. It can make it forget others by inventing many.
#ifndef WEIR_RELAY_ORIGINS_H
#define WEIR_RELAY_ORIGINS_H

#include "relay/handoff.h"
#include "storage/spool.h"

#define ORIGINS_MAX 16384u // scopes: lanes of origins, and a further one for each of their restarts with a backlog

struct origins;
struct origin;

// A request's positions, from their admission to the disk's word. In the request's record; zeroed at first.
struct origin_claim {
    struct origin *origin; // NULL: none, or done with
    struct origin_claim *next, **link;
    struct handoff handoff;
};

enum origins_answer {
    ORIGINS_TAKE, // store it; origins_stored or origins_release follows
    ORIGINS_HELD, // all of it is stored
    ORIGINS_PART, // some of it is: all up to *same_to, or nothing up to there
    ORIGINS_BUSY, // some of it is being stored now
};

// Reads the notes, and what was stored since they were put. Before anything is taken in. WEIR_E_IO, WEIR_E_NOMEM.
int origins_open(struct spool *spool, struct origins **out, struct weir_err *err);
void origins_close(struct origins *origins); // no claim is left
// Any thread.
enum origins_answer origins_claim(struct origins *origins, const struct handoff *handoff, struct origin_claim *claim,
                                  struct position *same_to);
// The claim's data is durable as block `number`: in the writer's thread, before anybody can read that block.
void origins_stored(struct origins *origins, struct origin_claim *claim, uint64_t number);
// It was not stored. Also when it was, or there never was a claim: then nothing happens. Any thread.
void origins_release(struct origins *origins, struct origin_claim *claim);
// Now and then, so that a start has little to read: the notes go so far.
void origins_tick(struct origins *origins);

struct origins_stats {
    uint64_t scopes;    // known
    uint64_t repeats;   // requests that were acknowledged and not stored
    uint64_t parts;     // that must come in parts
    uint64_t forgotten; // scopes and spans, for want of room: their data may come twice
};
void origins_stats_get(struct origins *origins, struct origins_stats *out);

#endif
