// SPDX-License-Identifier: Apache-2.0
// What the two transports behind net/client.h share: lists, records of calls, kept response headers. For net/ alone.
#ifndef WEIR_NET_CLIENT_PRIV_H
#define WEIR_NET_CLIENT_PRIV_H

#include "net/client.h"

#define CLIENT_HEADERS_MAX      64          // per block; what comes after is not kept
#define CLIENT_HEADER_BYTES_MAX (16 * 1024) // per block

// A circular list with its head in it.
struct client_link {
    struct client_link *prev, *next;
};
static inline void client_list_init(struct client_link *head)
{
    head->prev = head->next = head;
}
static inline bool client_list_empty(const struct client_link *head)
{
    return head->next == head;
}
static inline void client_list_append(struct client_link *head, struct client_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}
static inline void client_list_remove(struct client_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}
// The first one, taken out. The list must not be empty.
static inline struct client_link *client_list_take(struct client_link *head)
{
    struct client_link *link = head->next;
    head->next = link->next;
    link->next->prev = head;
    link->prev = link->next = NULL;
    return link;
}

// One block of response headers or trailers: (u16 name length, u16 value length, name, value)*.
struct client_headers {
    struct weir_buf bytes;
    size_t count;
};
// Keeps a copy while the block is below both limits and memory lasts; silently drops it otherwise, as the answer is good without it.
void client_headers_add(struct client_headers *headers, struct weir_slice name, struct weir_slice value);
void client_headers_clear(struct client_headers *headers);

// A call under way: the first member of each transport's own record, and what client_call.internal points to.
struct client_record {
    struct client_link link; // in exactly one list
    struct client_call *call;
    bool decided; // call->error and error_text are final
    struct client_headers headers, trailers;
    struct weir_buf body;
};

struct client_vtable {
    void (*start)(struct client *client, struct client_call *call);
    void (*cancel)(struct client *client, struct client_call *call);
    void (*poll)(struct client *client, int timeout_ms);
    void (*wake)(struct client *client);
    uint64_t (*connection)(const struct client *client);
    void (*free)(struct client *client);
};

struct client {
    const struct client_vtable *vtable;
    struct client_options options;  // the strings are ours
    char peer[280];                 // "host:port", IPv6 in brackets: for texts and as authority
    struct client_link finished;    // records whose done is due
    struct client_call *unrecorded; // calls there was no memory for, linked by `internal`
    bool closing;
    struct ssl_ctx_st *tls; // of new connections; NULL: plaintext (tls_client.h)
    uint8_t tls_digest[32]; // of the files it came from
    struct tls_validity certificate;
};

// Copies the options, fills in defaults. WEIR_E_INVALID, WEIR_E_NOMEM.
int client_init(struct client *client, const struct client_vtable *vtable, const struct client_options *options,
                struct weir_err *err);
void client_dispose(struct client *client);

// Clears the answer's fields of the call and makes its record of `size` bytes (zeroed, a struct client_record first). NULL: no memory, or
// closing; the call is then among the finished already.
void *client_record_new(struct client *client, struct client_call *call, size_t size);
// The outcome, unless one is decided already.
__attribute__((format(printf, 3, 4))) void client_record_decide(struct client_record *record, enum client_error error,
                                                                const char *fmt, ...);
// Moves a decided record from its list to the finished ones.
void client_record_finish(struct client *client, struct client_record *record);
bool client_has_finished(const struct client *client);
// Calls done of every finished call, also of those that finish meanwhile.
void client_deliver(struct client *client);

#endif
