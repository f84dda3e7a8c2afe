// SPDX-License-Identifier: Apache-2.0
// The certificates that weir shows: of its listeners, read again when their files change, and what is told of each, those of upstreams
// included: when it expires, and why the files that lie there now are not the ones in use.
#ifndef WEIR_RELAY_CERTIFICATES_H
#define WEIR_RELAY_CERTIFICATES_H

#include <pthread.h>

#include "net/tls.h"
#include "relay/config.h"

// Before it expires the log, the status and check-config begin to say so; of a short-lived one, which is renewed day by day, in the last third
// of its life.
#define CERTIFICATE_WARN_SECONDS (14 * 86400)
enum certificate_age { CERTIFICATE_GOOD, CERTIFICATE_EXPIRES_SOON, CERTIFICATE_EXPIRED, CERTIFICATE_TOO_EARLY };
enum certificate_age certificate_age(struct tls_validity validity, int64_t now_unix); // GOOD too when there is none

struct certificate_state {
    bool used; // there is TLS at all; else the rest is empty
    struct tls_validity validity;
    uint64_t loaded_unix_ns; // when what is in use was read
    char error[256];         // what is wrong with the files now, so that the last good ones stay in use; "": nothing
};

// Of one owner. Notes are one thread's, certificate_watch_get is any thread's.
struct certificate_watch {
    char owner[96]; // "receiver.grpc", "upstream central"
    pthread_mutex_t lock;
    struct certificate_state state;
    uint64_t expiry_told_ns; // monotonic; 0: never
};
void certificate_watch_open(struct certificate_watch *watch, const char *owner, struct tls_validity validity);
void certificate_watch_close(struct certificate_watch *watch);
// The files were read again: what came of it goes into the state, and into the log when it is news.
void certificate_watch_note(struct certificate_watch *watch, int code, bool changed, struct tls_validity validity,
                            const struct weir_err *err);
// Warns of a certificate that expires soon or has, once a day.
void certificate_watch_expiry(struct certificate_watch *watch, uint64_t now_ns, int64_t now_unix);
struct certificate_state certificate_watch_get(struct certificate_watch *watch);

enum certificate_listener { CERTIFICATE_GRPC = 0, CERTIFICATE_HTTP, CERTIFICATE_ADMIN };
#define CERTIFICATE_LISTENERS 3
extern const char *const certificate_listener_names[CERTIFICATE_LISTENERS]; // "receiver.grpc"

struct certificates;
// Reads the files of all listeners that have any and are not off. WEIR_E_INVALID: "receiver.grpc.tls.cert_file /etc/…: No such file or
// directory". WEIR_E_NOMEM.
int certificates_open(const struct config *config, struct certificates **out, struct weir_err *err);
// NULL: that listener is plaintext.
struct tls_listen *certificates_of(struct certificates *certificates, enum certificate_listener listener);
// Looks at files whose reload_interval is over, or at all of them. In one thread.
void certificates_look(struct certificates *certificates, uint64_t now_ns, bool all);
// Any thread.
struct certificate_state certificates_get(struct certificates *certificates, enum certificate_listener listener);
void certificates_close(struct certificates *certificates);

#endif
