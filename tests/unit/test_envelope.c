// SPDX-License-Identifier: Apache-2.0
#include "relay/envelope.h"
#include "relay/header.h"

#include <criterion/criterion.h>

static struct weir_slice slice(const char *text)
{
    return (struct weir_slice){(const uint8_t *)text, strlen(text)};
}

static struct envelope_header header(const char *name, const char *value)
{
    return (struct envelope_header){slice(name), slice(value)};
}

static bool same(struct weir_slice a, struct weir_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

Test(envelope, is_what_its_head_says)
{
    static const uint8_t expected[] = {3, 1, 'a', 1, 'b', 3, 'x', '-', 'y', 0};
    struct envelope envelope = {.alone = true, .count = 2, .headers = {header("a", "b"), header("x-y", "")}};
    struct weir_buf out = {0};
    cr_assert_eq(envelope_encode(&envelope, &out, NULL), WEIR_OK);
    cr_assert_eq(out.len, sizeof(expected));
    cr_expect_arr_eq(out.data, expected, sizeof(expected));
    weir_buf_free(&out);
    // What says nothing is nothing, and old envelopes stay what they were.
    cr_assert_eq(envelope_encode(&(struct envelope){0}, &out, NULL), WEIR_OK);
    cr_expect_eq(out.len, 0);
    cr_assert_eq(envelope_encode(&(struct envelope){.alone = true}, &out, NULL), WEIR_OK);
    cr_expect(out.len == 1 && out.data[0] == ENVELOPE_ALONE);
    weir_buf_free(&out);
}

Test(envelope, reads_back)
{
    static char name[HEADER_NAME_MAX + 1], value[3000];
    memset(name, 'n', HEADER_NAME_MAX);
    memset(value, 'v', sizeof(value) - 1);
    struct envelope out, envelope = {.count = 4,
                                     .headers = {header("authorization", "Bearer x"), header(name, value),
                                                 header("x-scope-orgid", "a|b"), header("x-scope-orgid", "~ !")}};
    struct weir_buf bytes = {0};
    for (int alone = 0; alone < 2; alone++) {
        envelope.alone = alone;
        bytes.len = 0;
        cr_assert_eq(envelope_encode(&envelope, &bytes, NULL), WEIR_OK);
        struct weir_slice stored = {bytes.data, bytes.len};
        cr_assert_eq(envelope_decode(stored, &out, NULL), WEIR_OK);
        cr_expect_eq(out.alone, alone);
        cr_expect_eq(envelope_is_alone(stored), alone);
        cr_expect_eq(envelopes_join(stored, stored), !alone);
        cr_assert_eq(out.count, 4);
        for (size_t i = 0; i < 4; i++)
            cr_expect(same(out.headers[i].name, envelope.headers[i].name) &&
                      same(out.headers[i].value, envelope.headers[i].value));
    }
    weir_buf_free(&bytes);
    static const uint8_t old[] = {0, ENVELOPE_ALONE};
    cr_assert_eq(envelope_decode((struct weir_slice){NULL, 0}, &out, NULL), WEIR_OK);
    cr_expect(!out.alone && out.count == 0);
    cr_assert_eq(envelope_decode((struct weir_slice){old + 1, 1}, &out, NULL), WEIR_OK);
    cr_expect(out.alone && out.count == 0);
    cr_assert_eq(envelope_decode((struct weir_slice){old, 1}, &out, NULL), WEIR_OK);
    cr_expect(!out.alone && out.count == 0);
}

Test(envelope, refuses_damaged_and_hostile_bytes)
{
    static const struct {
        const char *bytes;
        size_t len;
        int code;
    } cases[] = {
#define CASE(text, code) {text, sizeof(text) - 1, code}
        CASE("\x08", WEIR_E_FORMAT),      // a flag of the future
        CASE("\x04\x01", WEIR_E_CORRUPT), // a handoff that is cut off
        CASE("\xff\x01"
             "a\x01"
             "b",
             WEIR_E_FORMAT),
        CASE("\x02", WEIR_E_CORRUPT),                             // headers that are not there
        CASE("\x00\x01", WEIR_E_CORRUPT),                         // and some that are not announced
        CASE("\x01\x01\x61\x00", WEIR_E_CORRUPT),                 // neither here
        CASE("\x02\x01", WEIR_E_CORRUPT),                         // cut off: in a name
        CASE("\x02\x01\x61", WEIR_E_CORRUPT),                     // before a value
        CASE("\x02\x01\x61\x02\x62", WEIR_E_CORRUPT),             // in a value
        CASE("\x02\x81", WEIR_E_CORRUPT),                         // in a length
        CASE("\x02\xff\xff\xff\xff\x0f\x61\x00", WEIR_E_CORRUPT), // a length without end
        CASE("\x02\x81\x00\x61\x00", WEIR_E_CORRUPT),             // one that could be shorter
        CASE("\x02\x00\x00", WEIR_E_CORRUPT),                     // no name
        CASE("\x02\x01\x41\x00", WEIR_E_CORRUPT),                 // "A"
        CASE("\x02\x01:\x00", WEIR_E_CORRUPT),                    // a pseudo-header's beginning
        CASE("\x02\x02te\x00", WEIR_E_CORRUPT),                   // what never was kept
        CASE("\x02\x0egrpc-something\x00", WEIR_E_CORRUPT),
        CASE("\x02\x01\x61\x04\x62\r\n\x63", WEIR_E_CORRUPT), // would add a header of its own
        CASE("\x02\x01\x61\x01\x00", WEIR_E_CORRUPT),
        CASE("\x02\x01\x61\x01 ", WEIR_E_CORRUPT),
        CASE("\x02\x01\x61\x01\xe4", WEIR_E_CORRUPT),
        CASE("\x02\x01\x61\x01\x62\x01", WEIR_E_CORRUPT), // something behind the last
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct envelope out;
        struct weir_err err = {0};
        uint8_t *exact = malloc(cases[i].len); // so that a sanitizer sees a step too far
        memcpy(exact, cases[i].bytes, cases[i].len);
        cr_expect_eq(envelope_decode((struct weir_slice){exact, cases[i].len}, &out, &err), cases[i].code, "case %zu",
                     i);
        free(exact);
    }
    // More headers than one request may have.
    struct weir_buf many = {0};
    weir_buf_append(&many, "\x02", 1);
    for (unsigned i = 0; i < ENVELOPE_HEADERS_MAX; i++)
        weir_buf_append(&many, "\x01\x61\x00", 3);
    struct envelope out;
    cr_expect_eq(envelope_decode((struct weir_slice){many.data, many.len}, &out, NULL), WEIR_OK);
    cr_expect_eq(out.count, ENVELOPE_HEADERS_MAX);
    weir_buf_append(&many, "\x01\x61\x00", 3);
    cr_expect_eq(envelope_decode((struct weir_slice){many.data, many.len}, &out, NULL), WEIR_E_CORRUPT);
    weir_buf_free(&many);
}

Test(envelope, is_not_made_of_what_cannot_be_sent_on)
{
    static char large[ENVELOPE_BYTES_MAX + 1];
    memset(large, 'v', ENVELOPE_BYTES_MAX);
    struct weir_buf out = {0};
    struct weir_err err = {0};
    struct envelope one = {.count = 1};
    static const size_t fits = ENVELOPE_BYTES_MAX - 1 - 1 - 4;
    one.headers[0] = (struct envelope_header){slice("a"), {(const uint8_t *)large, fits}};
    cr_assert_eq(envelope_encode(&one, &out, &err), WEIR_OK);
    cr_expect_leq(out.len, ENVELOPE_BYTES_MAX);
    out.len = 0;
    one.headers[0].value.len = fits + 1;
    cr_expect_eq(envelope_encode(&one, &out, &err), WEIR_E_LIMIT);
    struct envelope many = {.count = ENVELOPE_HEADERS_MAX + 1};
    cr_expect_eq(envelope_encode(&many, &out, &err), WEIR_E_LIMIT);
    static const char *const values[] = {"a\nb", "\x7f", " a", "a ", "\xc3\xa4", "a\tb"};
    for (size_t i = 0; i < WEIR_COUNT(values); i++) {
        one.headers[0] = header("a", values[i]);
        cr_expect_eq(envelope_encode(&one, &out, &err), WEIR_E_INVALID, "value %zu", i);
        cr_expect_str_eq(err.text, "the header a holds a character that cannot be sent on");
    }
    cr_expect_eq(out.len, 0);
    weir_buf_free(&out);
}

Test(envelope, only_equal_ones_join)
{
    static const uint8_t a[] = {2, 1, 'a', 1, 'x'}, b[] = {2, 1, 'a', 1, 'y'}, alone[] = {3, 1, 'a', 1, 'x'};
    const struct weir_slice none = {NULL, 0}, of_a = {a, sizeof(a)}, of_b = {b, sizeof(b)},
                            lone = {alone, sizeof(alone)};
    cr_expect(envelopes_join(none, none) && envelopes_join(of_a, of_a));
    cr_expect(!envelopes_join(of_a, of_b) && !envelopes_join(of_a, none) && !envelopes_join(none, of_b));
    cr_expect(!envelopes_join(lone, lone) && !envelopes_join(lone, of_a) && !envelopes_join(of_a, lone));
}

Test(envelope, handoff_is_kept_and_does_not_matter_to_what_is_sent)
{
    uint8_t handoffs[2][HANDOFF_BYTES] = {{1}, {2}};
    struct weir_buf with[3] = {{0}};
    struct weir_slice at[3];
    for (size_t i = 0; i < 3; i++) {
        struct envelope envelope = {.handoff = {handoffs[i % 2], HANDOFF_BYTES}, .count = i < 2 ? 0 : 1}, out;
        envelope.headers[0] = header("a", "x");
        cr_assert_eq(envelope_encode(&envelope, &with[i], NULL), WEIR_OK);
        at[i] = (struct weir_slice){with[i].data, with[i].len};
        cr_assert_eq(envelope_decode(at[i], &out, NULL), WEIR_OK);
        cr_expect(out.count == envelope.count && !out.alone);
        cr_expect(out.handoff.len == HANDOFF_BYTES && memcmp(out.handoff.data, handoffs[i % 2], HANDOFF_BYTES) == 0);
    }
    static const uint8_t a[] = {2, 1, 'a', 1, 'x'}, lone[] = {ENVELOPE_ALONE};
    const struct weir_slice none = {NULL, 0}, of_a = {a, sizeof(a)}, alone = {lone, 1};
    cr_expect(envelopes_join(at[0], at[1]) && envelopes_join(at[0], none) && envelopes_join(none, at[1]));
    cr_expect(envelopes_join(at[2], of_a) && !envelopes_join(at[2], at[0]) && !envelopes_join(at[0], alone));
    for (size_t i = 0; i < 3; i++)
        weir_buf_free(&with[i]);
}

Test(header, may_be_kept_or_not)
{
    static const char *const kept[] = {"x-scope-orgid",  "authorization", "tenant-bin",
                                       "x-content-type", "traceparent",   "a"};
    static const char *const not_kept[] = {"content-type",
                                           "content-length",
                                           "grpc-timeout",
                                           "grpc-trace-bin",
                                           "host",
                                           "te",
                                           "connection",
                                           "transfer-encoding",
                                           "proxy-authorization",
                                           "weir-batch",
                                           "user-agent",
                                           "accept-encoding",
                                           "upgrade",
                                           "expect"};
    for (size_t i = 0; i < WEIR_COUNT(kept); i++)
        cr_expect(header_may_be_kept(slice(kept[i])), "%s", kept[i]);
    for (size_t i = 0; i < WEIR_COUNT(not_kept); i++)
        cr_expect(!header_may_be_kept(slice(not_kept[i])), "%s", not_kept[i]);
    cr_expect(header_name_is_token(slice("x!#$%&'*+-.^_`|~9"), true));
    cr_expect(header_name_is_token(slice("X-A"), false) && !header_name_is_token(slice("X-A"), true));
    cr_expect(!header_name_is_token(slice(""), true) && !header_name_is_token(slice(":path"), true) &&
              !header_name_is_token(slice("a b"), true) &&
              !header_name_is_token((struct weir_slice){(const uint8_t *)"a\0b", 3}, true));
    cr_expect(header_is_secret("authorization") && header_is_secret("x-api-key") && !header_is_secret("x-scope-orgid"));
}
