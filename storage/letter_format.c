// SPDX-License-Identifier: Apache-2.0
// Reading and writing the records of deadletter.mdb. What is stored is input like any other: lengths are checked before they are used.
#include <zstd.h>

#include "storage/letter_format.h"
#include "storage/segment.h"

void letter_totals_put(uint8_t out[LETTER_TOTALS_BYTES], const struct letter_totals *totals)
{
    record_begin(out, "WDLS", LETTER_TOTALS_BYTES);
    weir_put_u64(out + 16, totals->requests);
    weir_put_u64(out + 24, totals->items);
    weir_put_u64(out + 32, totals->bytes);
    weir_put_u64(out + 40, totals->file_id);
    record_seal(out, LETTER_TOTALS_BYTES);
}

int letter_totals_get(struct weir_slice value, struct letter_totals *out, struct weir_err *err)
{
    int code = record_check(value, "WDLS", LETTER_TOTALS_BYTES - 8, err);
    if (code != WEIR_OK)
        return code;
    bool old = weir_get_u16(value.data + 4) == 1;
    if (!old && weir_get_u32(value.data + 8) < LETTER_TOTALS_BYTES)
        return weir_fail(err, WEIR_E_CORRUPT, "WDLS record with %zu bytes", value.len);
    *out = (struct letter_totals){weir_get_u64(value.data + 16), weir_get_u64(value.data + 24),
                                  weir_get_u64(value.data + 32), old ? 0 : weir_get_u64(value.data + 40)};
    return code;
}

uint64_t letter_pages_bytes(size_t len)
{
    return (len + 16 + SEGMENT_PAGE - 1) / SEGMENT_PAGE * SEGMENT_PAGE;
}

void letter_key_put(struct letter_key *out, uint64_t block, uint64_t item, const char *upstream, size_t upstream_bytes)
{
    for (unsigned i = 0; i < 8; i++) {
        out->bytes[i] = (uint8_t)(block >> (56 - 8 * i));
        out->bytes[8 + i] = (uint8_t)(item >> (56 - 8 * i));
    }
    memcpy(out->bytes + LETTER_KEY_BYTES, upstream, upstream_bytes);
    out->len = LETTER_KEY_BYTES + upstream_bytes;
}

void letter_key_of(const struct letter_id *id, struct letter_key *out)
{
    letter_key_put(out, id->block, id->item, id->upstream, strlen(id->upstream));
}

bool letter_key_get(struct weir_slice key, struct letter_id *out)
{
    *out = (struct letter_id){0};
    if (key.len <= LETTER_KEY_BYTES || key.len > LETTER_KEY_BYTES + STATE_UPSTREAM_BYTES)
        return false;
    for (unsigned i = 0; i < 8; i++) {
        out->block = out->block << 8 | key.data[i];
        out->item = out->item << 8 | key.data[8 + i];
    }
    memcpy(out->upstream, key.data + LETTER_KEY_BYTES, key.len - LETTER_KEY_BYTES);
    return true;
}

const char *letter_id_format(const struct letter_id *id, char out[LETTER_ID_TEXT])
{
    snprintf(out, LETTER_ID_TEXT, "%llu-%llu.%s", (unsigned long long)id->block, (unsigned long long)id->item,
             id->upstream);
    return out;
}

// Digits up to `stop`, which is passed.
static bool number_get(const char **text, char stop, uint64_t *out)
{
    const char *p = *text;
    *out = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(*out, 10u, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
            return false;
    bool good = p != *text && *p == stop;
    *text = p + 1;
    return good;
}

bool letter_id_parse(const char *text, struct letter_id *out)
{
    *out = (struct letter_id){0};
    if (!number_get(&text, '-', &out->block) || !number_get(&text, '.', &out->item))
        return false;
    size_t len = strlen(text);
    if (len == 0 || len > LETTER_UPSTREAM_BYTES)
        return false;
    memcpy(out->upstream, text, len);
    return true;
}

// --- letters --------------------------------------------------------------------------------------------------------------

int letter_encode(const struct spool_dead_letter *letter, struct weir_buf *out, struct weir_err *err)
{
    size_t upstream = strlen(letter->upstream);
    size_t code = strnlen(letter->code, LETTER_TEXT_MAX), message = strnlen(letter->message, LETTER_TEXT_MAX);
    size_t text = upstream + code + message + letter->envelope.len;
    if (upstream == 0 || upstream > STATE_UPSTREAM_BYTES || letter->envelope.len > BLOCK_ENVELOPE_BYTES_MAX ||
        letter->raw.len > BLOCK_RAW_BYTES_MAX)
        return weir_fail(err, WEIR_E_LIMIT, "dead letter of %zu bytes for %.64s", letter->raw.len, letter->upstream);
    size_t bound = ZSTD_compressBound(letter->raw.len);
    if (!weir_buf_reserve(out, LETTER_HEAD_BYTES + text + bound + 8))
        return weir_fail(err, WEIR_E_NOMEM, "dead letter of %zu bytes: out of memory", letter->raw.len);
    size_t frame = ZSTD_compress(out->data + LETTER_HEAD_BYTES + text, bound, letter->raw.data, letter->raw.len, 1);
    if (ZSTD_isError(frame))
        return weir_fail(err, WEIR_E_NOMEM, "dead letter: zstd: %s", ZSTD_getErrorName(frame));
    uint32_t bytes = (uint32_t)(LETTER_HEAD_BYTES + text + frame + 8);
    uint8_t *p = out->data;
    assert(p != NULL);                          // room was reserved
    record_begin(p, "WDLT", LETTER_HEAD_BYTES); // zeroes the head alone
    weir_put_u32(p + 8, bytes);
    weir_put_u32(p + 12, letter->attempts);
    weir_put_u64(p + 16, letter->block);
    weir_put_u64(p + 24, letter->item);
    weir_put_u64(p + 32, letter->items);
    weir_put_u64(p + 40, letter->received_ns);
    weir_put_u64(p + 48, weir_now_unix_ns());
    weir_put_u64(p + 56, letter->raw.len);
    weir_put_u64(p + 64, frame);
    weir_put_u32(p + 72, (uint32_t)letter->envelope.len);
    weir_put_u16(p + 76, (uint16_t)upstream);
    weir_put_u16(p + 78, (uint16_t)code);
    weir_put_u16(p + 80, (uint16_t)message);
    p[82] = (uint8_t)letter->signal;
    p[83] = BLOCK_CODEC_ZSTD;
    weir_put_u64(p + 88, letter->time_min_ns);
    weir_put_u64(p + 96, letter->time_max_ns);
    out->len = LETTER_HEAD_BYTES;
    weir_buf_append(out, letter->upstream, upstream); // room is reserved
    weir_buf_append(out, letter->code, code);
    weir_buf_append(out, letter->message, message);
    weir_buf_append(out, letter->envelope.data, letter->envelope.len);
    out->len = bytes;
    record_seal(out->data, bytes);
    return WEIR_OK;
}

static size_t head_bytes(const uint8_t *p)
{
    return weir_get_u16(p + 4) == 1 ? LETTER_HEAD_V1_BYTES : LETTER_HEAD_BYTES;
}

static void head_get(const uint8_t *p, struct letter_view *out)
{
    *out = (struct letter_view){
        .version = weir_get_u16(p + 4),
        .attempts = weir_get_u32(p + 12),
        .block = weir_get_u64(p + 16),
        .item = weir_get_u64(p + 24),
        .items = weir_get_u64(p + 32),
        .received_ns = weir_get_u64(p + 40),
        .stored_ns = weir_get_u64(p + 48),
        .raw_bytes = weir_get_u64(p + 56),
        .signal = (enum weir_signal)p[82],
        .codec = p[83],
    };
    if (out->version > 1) {
        out->time_min_ns = weir_get_u64(p + 88);
        out->time_max_ns = weir_get_u64(p + 96);
    }
}

// Cuts the record in its parts. False: their lengths do not add up.
static bool parts_get(const uint8_t *p, struct letter_view *out)
{
    struct {
        struct weir_slice *slice;
        uint64_t len;
    } parts[] = {{&out->upstream, weir_get_u16(p + 76)},
                 {&out->code, weir_get_u16(p + 78)},
                 {&out->message, weir_get_u16(p + 80)},
                 {&out->envelope, weir_get_u32(p + 72)},
                 {&out->frame, weir_get_u64(p + 64)}};
    uint64_t at = head_bytes(p), end = weir_get_u32(p + 8) - 8;
    for (size_t i = 0; i < WEIR_COUNT(parts); i++) {
        if (parts[i].len > end - at)
            return false;
        *parts[i].slice = (struct weir_slice){p + at, parts[i].len};
        at += parts[i].len;
    }
    return at == end && out->upstream.len > 0 && out->upstream.len <= STATE_UPSTREAM_BYTES;
}

bool letter_view_head(struct weir_slice value, struct letter_view *out)
{
    const uint8_t *p = value.data;
    if (value.len < LETTER_HEAD_V1_BYTES + 8 || memcmp(p, "WDLT", 4) != 0 || weir_get_u32(p + 8) != value.len ||
        weir_get_u16(p + 4) == 0 || weir_get_u16(p + 4) > FORMAT_VERSION || value.len < head_bytes(p) + 8 ||
        p[82] >= WEIR_SIGNALS)
        return false;
    head_get(p, out);
    return parts_get(p, out);
}

int letter_view_parse(struct weir_slice value, struct letter_view *out, struct weir_err *err)
{
    int code = record_check(value, "WDLT", LETTER_HEAD_V1_BYTES + 8, err);
    if (code != WEIR_OK)
        return code;
    const uint8_t *p = value.data;
    unsigned long long block = weir_get_u64(p + 16);
    if (weir_get_u32(p + 8) < head_bytes(p) + 8)
        return weir_fail(err, WEIR_E_CORRUPT, "dead letter of block %llu: %u bytes", block, weir_get_u32(p + 8));
    head_get(p, out);
    if (!parts_get(p, out))
        return weir_fail(err, WEIR_E_CORRUPT, "dead letter of block %llu: lengths do not add up", block);
    if (p[82] >= WEIR_SIGNALS || out->codec > BLOCK_CODEC_ZSTD || out->raw_bytes > BLOCK_RAW_BYTES_MAX)
        return weir_fail(err, WEIR_E_CORRUPT, "dead letter of block %llu: signal %u, codec %u, %llu bytes", block,
                         p[82], out->codec, (unsigned long long)out->raw_bytes);
    return WEIR_OK;
}

int letter_view_decode(const struct letter_view *view, struct weir_buf *out, struct weir_err *err)
{
    // The same kind of frame as a block's.
    const struct block_view block = {.number = view->block,
                                     .codec = (enum block_codec)view->codec,
                                     .raw_bytes = view->raw_bytes,
                                     .frame = view->frame};
    int code = block_view_decode(&block, out, err);
    return code == WEIR_OK ? code : weir_wrap(err, "dead letter");
}

// --- remarks and lanes -----------------------------------------------------------------------------------------------------

enum { REMARK_SETTLING = 1, REMARK_REDRIVE = 2 };

uint32_t remark_put(uint8_t out[REMARK_BYTES_MAX], const struct remark *remark)
{
    size_t code = remark->code.len < REMARK_TEXT_MAX ? remark->code.len : REMARK_TEXT_MAX;
    size_t message = remark->message.len < REMARK_TEXT_MAX ? remark->message.len : REMARK_TEXT_MAX;
    uint32_t bytes = (uint32_t)(REMARK_HEAD_BYTES + code + message + 8);
    record_begin(out, "WDLR", bytes);
    weir_put_u32(out + 12, (remark->settling ? REMARK_SETTLING : 0u) | (remark->redrive ? REMARK_REDRIVE : 0u));
    weir_put_u32(out + 16, remark->redrives);
    weir_put_u16(out + 20, (uint16_t)code);
    weir_put_u16(out + 22, (uint16_t)message);
    weir_put_u64(out + 24, remark->redriven_ns);
    if (code > 0)
        memcpy(out + REMARK_HEAD_BYTES, remark->code.data, code);
    if (message > 0)
        memcpy(out + REMARK_HEAD_BYTES + code, remark->message.data, message);
    record_seal(out, bytes);
    return bytes;
}

int remark_get(struct weir_slice value, struct remark *out, struct weir_err *err)
{
    *out = (struct remark){0};
    int rc = record_check(value, "WDLR", REMARK_HEAD_BYTES + 8, err);
    if (rc != WEIR_OK)
        return rc;
    const uint8_t *p = value.data;
    size_t code = weir_get_u16(p + 20), message = weir_get_u16(p + 22);
    if (weir_get_u32(p + 8) != REMARK_HEAD_BYTES + code + message + 8 || code > REMARK_TEXT_MAX ||
        message > REMARK_TEXT_MAX)
        return weir_fail(err, WEIR_E_CORRUPT, "remark: texts of %zu and %zu bytes", code, message);
    *out = (struct remark){.settling = (weir_get_u32(p + 12) & REMARK_SETTLING) != 0,
                           .redrive = (weir_get_u32(p + 12) & REMARK_REDRIVE) != 0,
                           .redrives = weir_get_u32(p + 16),
                           .redriven_ns = weir_get_u64(p + 24),
                           .code = {p + REMARK_HEAD_BYTES, code},
                           .message = {p + REMARK_HEAD_BYTES + code, message}};
    return WEIR_OK;
}

size_t letter_lane_key(uint8_t out[1 + STATE_UPSTREAM_BYTES], const struct letter_lane *lane)
{
    size_t len = strlen(lane->upstream);
    out[0] = (uint8_t)lane->signal;
    memcpy(out + 1, lane->upstream, len);
    return 1 + len;
}

void letter_lane_put(uint8_t out[LETTER_LANE_BYTES], const struct letter_lane *lane)
{
    const uint64_t fields[] = {lane->requests,
                               lane->items,
                               lane->bytes,
                               lane->marked,
                               lane->redriven_requests,
                               lane->purged_requests,
                               lane->evicted_requests,
                               lane->moves.delivered,
                               lane->moves.rejected,
                               lane->moves.discarded,
                               lane->moves.evicted};
    record_begin(out, "WDLL", LETTER_LANE_BYTES);
    for (size_t i = 0; i < WEIR_COUNT(fields); i++)
        weir_put_u64(out + 16 + 8 * i, fields[i]);
    record_seal(out, LETTER_LANE_BYTES);
}

int letter_lane_get(struct weir_slice key, struct weir_slice value, struct letter_lane *out, struct weir_err *err)
{
    *out = (struct letter_lane){0};
    if (key.len < 2 || key.len > 1 + STATE_UPSTREAM_BYTES || key.data[0] >= WEIR_SIGNALS)
        return weir_fail(err, WEIR_E_CORRUPT, "dead letters: key of %zu bytes", key.len);
    int code = record_check(value, "WDLL", LETTER_LANE_BYTES, err);
    if (code != WEIR_OK)
        return code;
    out->signal = (enum weir_signal)key.data[0];
    memcpy(out->upstream, key.data + 1, key.len - 1);
    uint64_t *const fields[] = {&out->requests,
                                &out->items,
                                &out->bytes,
                                &out->marked,
                                &out->redriven_requests,
                                &out->purged_requests,
                                &out->evicted_requests,
                                &out->moves.delivered,
                                &out->moves.rejected,
                                &out->moves.discarded,
                                &out->moves.evicted};
    for (size_t i = 0; i < WEIR_COUNT(fields); i++)
        *fields[i] = weir_get_u64(value.data + 16 + 8 * i);
    return WEIR_OK;
}

struct letter_lane *letter_lane_find(struct letter_lanes *lanes, const char *upstream, size_t upstream_bytes,
                                     enum weir_signal signal, bool make)
{
    for (size_t i = 0; i < lanes->n; i++) {
        struct letter_lane *lane = &lanes->at[i];
        if (lane->signal == signal && strlen(lane->upstream) == upstream_bytes &&
            memcmp(lane->upstream, upstream, upstream_bytes) == 0)
            return lane;
    }
    if (!make || upstream_bytes > STATE_UPSTREAM_BYTES)
        return NULL;
    if (lanes->n == lanes->cap) {
        size_t cap = lanes->cap > 0 ? 2 * lanes->cap : 8;
        struct letter_lane *at = realloc(lanes->at, cap * sizeof(*at));
        if (at == NULL)
            return NULL;
        lanes->at = at;
        lanes->cap = cap;
    }
    struct letter_lane *lane = &lanes->at[lanes->n++];
    *lane = (struct letter_lane){.signal = signal};
    memcpy(lane->upstream, upstream, upstream_bytes);
    return lane;
}

int letter_lanes_load(MDB_txn *txn, MDB_dbi dbi, struct letter_lanes *out, struct weir_err *err)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int code = WEIR_OK, rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return lmdb_fail(err, rc, "dead letters of lanes");
    out->n = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && code == WEIR_OK;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct letter_lane lane, *at;
        code = letter_lane_get((struct weir_slice){k.mv_data, k.mv_size}, (struct weir_slice){v.mv_data, v.mv_size},
                               &lane, err);
        at = code == WEIR_OK ? letter_lane_find(out, lane.upstream, strlen(lane.upstream), lane.signal, true) : NULL;
        if (at != NULL)
            *at = lane;
        else if (code == WEIR_OK)
            code = weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    }
    mdb_cursor_close(cursor);
    return code != WEIR_OK || rc == MDB_NOTFOUND ? code : lmdb_fail(err, rc, "dead letters of lanes");
}
