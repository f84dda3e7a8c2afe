// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/sink/rules.h"

#include "proto/grpc.h"

#include <errno.h>

#define ALL_CELLS ((1u << (2 * WEIR_SIGNALS)) - 1)

static const uint32_t transport_cells[] = {[EXCHANGE_GRPC] = 0x0f, [EXCHANGE_HTTP] = 0xf0};

static bool set_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > max)
        return false;
    *out = value;
    return true;
}

static bool set_transport(struct rule *rule, const char *value)
{
    bool grpc = strcmp(value, "grpc") == 0;
    if (!grpc && strcmp(value, "http") != 0)
        return false;
    rule->cells &= transport_cells[grpc ? EXCHANGE_GRPC : EXCHANGE_HTTP];
    return true;
}

static bool set_signal(struct rule *rule, const char *value)
{
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        if (strcmp(value, weir_signal_name((enum weir_signal)i)) == 0) {
            rule->cells &= 0x11u << i;
            return true;
        }
    }
    return false;
}

static bool set_ok(struct rule *rule, const char *value)
{
    rule->action = RULE_OK;
    return true;
}

static bool set_hang(struct rule *rule, const char *value)
{
    rule->action = RULE_HANG;
    return true;
}

static bool set_goaway(struct rule *rule, const char *value)
{
    rule->action = RULE_GOAWAY;
    return true;
}

static bool set_cut(struct rule *rule, const char *value)
{
    rule->action = RULE_CUT;
    return true;
}

static bool set_status(struct rule *rule, const char *value)
{
    uint64_t n;
    if (!set_number(value, 599, &n) || (n >= GRPC_STATUSES && n < 200))
        return false;
    rule->status = (int)n;
    rule->action = RULE_STATUS;
    return true;
}

static bool set_retry_delay(struct rule *rule, const char *value)
{
    uint64_t n;
    rule->has_retry_delay = set_number(value, 86400000, &n);
    rule->retry_delay_ms = rule->has_retry_delay ? (uint32_t)n : 0;
    return rule->has_retry_delay;
}

static bool set_delay(struct rule *rule, const char *value)
{
    uint64_t n;
    bool good = set_number(value, 3600000, &n);
    rule->delay_ms = good ? (uint32_t)n : 0;
    return good;
}

static bool set_refuse(struct rule *rule, const char *value)
{
    for (const char *at = value; *at != '\0';) {
        size_t len = strcspn(at, ",");
        enum encoding encoding;
        if (!encoding_by_name(ENCODING_OF_HTTP, at, len, &encoding))
            return false;
        rule->refuse |= 1u << encoding;
        at += len + (at[len] == ',');
    }
    return rule->refuse != 0;
}

static bool set_partial(struct rule *rule, const char *value)
{
    uint64_t n;
    bool good = set_number(value, INT32_MAX, &n);
    rule->partial = good ? (int64_t)n : 0;
    return good;
}

static bool set_limit(struct rule *rule, const char *value)
{
    return set_number(value, SIZE_MAX, &rule->limit_bytes);
}

static bool set_poison(struct rule *rule, const char *value)
{
    uint64_t n;
    bool good = set_number(value, INT64_MAX, &n);
    rule->poison_id = good ? (int64_t)n : -1;
    return good;
}

static bool set_count(struct rule *rule, const char *value)
{
    return set_number(value, UINT64_MAX - 1, &rule->remaining) && rule->remaining > 0;
}

static bool set_rate(struct rule *rule, const char *value)
{
    return set_number(value, 1000000, &rule->rate);
}

static bool set_burst(struct rule *rule, const char *value)
{
    return set_number(value, 1000000, &rule->burst);
}

static bool set_one_in(struct rule *rule, const char *value)
{
    rule->random = 88172645463325252u;
    return set_number(value, 1000000, &rule->one_in);
}

static bool set_service(struct rule *rule, const char *value)
{
    uint64_t n;
    bool good = set_number(value, 3600000, &n);
    rule->service_ms = good ? (uint32_t)n : 0;
    return good;
}

static bool set_slots(struct rule *rule, const char *value)
{
    uint64_t n;
    bool good = set_number(value, RULE_SLOTS, &n) && n > 0;
    rule->slots = good ? (uint32_t)n : 1;
    return good;
}

static const struct {
    const char *key;
    bool (*set)(struct rule *rule, const char *value);
} keys[] = {
    {"transport", set_transport},
    {"signal", set_signal},
    {"ok", set_ok},
    {"status", set_status},
    {"hang", set_hang},
    {"goaway", set_goaway},
    {"cut", set_cut},
    {"delay_ms", set_delay},
    {"retry_delay_ms", set_retry_delay},
    {"refuse", set_refuse},
    {"partial", set_partial},
    {"limit_bytes", set_limit},
    {"poison_id", set_poison},
    {"count", set_count},
    {"rate", set_rate},
    {"burst", set_burst},
    {"one_in", set_one_in},
    {"service_ms", set_service},
    {"slots", set_slots},
};

static int apply(struct rule *rule, char *pair, struct weir_err *err)
{
    char *value = strchr(pair, '=');
    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < WEIR_COUNT(keys); i++) {
        if (strcmp(pair, keys[i].key) != 0)
            continue;
        if (keys[i].set(rule, value ? value : ""))
            return WEIR_OK;
        return weir_fail(err, WEIR_E_INVALID, "%s: wrong value \"%s\"", pair, value ? value : "");
    }
    return weir_fail(err, WEIR_E_INVALID, "unknown key \"%s\"", pair);
}

static void drop_empty(struct rules *rules)
{
    size_t kept = 0;
    for (size_t i = 0; i < rules->count; i++) {
        if (rules->list[i].cells != 0 && rules->list[i].remaining != 0)
            rules->list[kept++] = rules->list[i];
    }
    rules->count = kept;
}

int rules_add(struct rules *rules, struct weir_slice form, struct weir_err *err)
{
    char text[512];
    if (form.len >= sizeof(text))
        return weir_fail(err, WEIR_E_LIMIT, "a rule is at most %zu bytes long", sizeof(text) - 1);
    memcpy(text, form.data, form.len);
    text[form.len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    struct rule rule = {.cells = ALL_CELLS, .poison_id = -1, .remaining = RULE_FOREVER, .burst = 1, .slots = 1};
    char *save = NULL;
    for (char *pair = strtok_r(text, "&", &save); pair != NULL; pair = strtok_r(NULL, "&", &save)) {
        int code = apply(&rule, pair, err);
        if (code != WEIR_OK)
            return code;
    }
    if (rule.cells == 0)
        return weir_fail(err, WEIR_E_INVALID, "no transport and signal fits");
    for (size_t i = 0; i < rules->count; i++)
        rules->list[i].cells &= ~rule.cells;
    drop_empty(rules);
    if (rules->count == RULES_MAX)
        return weir_fail(err, WEIR_E_FULL, "at most %d rules", RULES_MAX);
    rules->list[rules->count++] = rule;
    return WEIR_OK;
}

// False: the request comes too early, it is one too many.
static bool within_rate(struct rule *rule, uint64_t now_ns)
{
    uint64_t each_ns = 1000000000 / rule->rate, burst_ns = each_ns * (rule->burst > 0 ? rule->burst - 1 : 0);
    uint64_t paid_ns = rule->paid_until_ns > now_ns ? rule->paid_until_ns : now_ns;
    if (paid_ns - now_ns > burst_ns)
        return false;
    rule->paid_until_ns = paid_ns + each_ns;
    return true;
}

// Whether it is this one of `one_in` requests.
static bool is_that_one(struct rule *rule)
{
    rule->random ^= rule->random << 13;
    rule->random ^= rule->random >> 7;
    rule->random ^= rule->random << 17;
    return rule->random % rule->one_in == 0;
}

// In how many ms the first worker that is free for it is done with it.
static uint32_t stand_in_line(struct rule *rule, uint64_t now_ns)
{
    uint64_t *first = &rule->busy_until_ns[0];
    for (uint32_t i = 1; i < rule->slots; i++)
        if (rule->busy_until_ns[i] < *first)
            first = &rule->busy_until_ns[i];
    *first = (*first > now_ns ? *first : now_ns) + rule->service_ms * 1000000ull;
    return (uint32_t)((*first - now_ns + 999999) / 1000000);
}

struct rule rules_take(struct rules *rules, enum exchange_transport transport, enum weir_signal signal, uint64_t now_ns)
{
    for (size_t i = 0; i < rules->count; i++) {
        struct rule *rule = &rules->list[i];
        if ((rule->cells & rule_cell(transport, signal)) == 0)
            continue;
        struct rule taken = *rule;
        bool over = rule->rate > 0 && !within_rate(rule, now_ns);
        over = over || (rule->one_in > 0 && is_that_one(rule));
        if (rule->rate > 0 || rule->one_in > 0)
            taken.action = over ? RULE_STATUS : RULE_OK;
        if (over && taken.status == 0)
            taken.status = GRPC_UNAVAILABLE;
        if (rule->service_ms > 0 && !over)
            taken.delay_ms += stand_in_line(rule, now_ns);
        if (rule->remaining != RULE_FOREVER)
            rule->remaining--;
        drop_empty(rules);
        return taken;
    }
    return (struct rule){.poison_id = -1};
}

static const struct {
    int grpc, http;
} equivalents[] = {
    {GRPC_INVALID_ARGUMENT, 400}, {GRPC_UNAUTHENTICATED, 401}, {GRPC_PERMISSION_DENIED, 403},
    {GRPC_UNIMPLEMENTED, 404},    {GRPC_NOT_FOUND, 404},       {GRPC_RESOURCE_EXHAUSTED, 429},
    {GRPC_INTERNAL, 500},         {GRPC_UNAVAILABLE, 503},     {GRPC_DEADLINE_EXCEEDED, 504},
    {GRPC_UNKNOWN, 500},
};

int rule_status_http(int status)
{
    for (size_t i = 0; status < 100 && i < WEIR_COUNT(equivalents); i++) {
        if (equivalents[i].grpc == status)
            return equivalents[i].http;
    }
    return status < 100 ? 500 : status;
}
