// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr: one event, one line, one write(2), so that lines of several threads never mix. State changes are logged
// once, repetitions are counted (struct log_limit). Only relay logs; libraries return errors. Any thread may call anything
// here but log_configure's first call, which comes before other threads start.
//
//   log_event(LOG_INFO, "spool_opened", "spool opened", LOG_STR("directory", dir), LOG_U64("segments", n));
//   text: 2026-11-20T08:00:00.123Z INFO  spool opened event=spool_opened directory=/var/lib/weir segments=3
//   json: {"time":"2026-11-20T08:00:00.123Z","level":"info","event":"spool_opened","message":"spool opened","directory":…}
#ifndef WEIR_RELAY_LOG_H
#define WEIR_RELAY_LOG_H

#include <stdatomic.h>

#include "proto/base.h"
#include "proto/err.h"

enum log_level { LOG_DEBUG = 0, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT = 0, LOG_JSON };

enum log_kind { LOG_KIND_STR, LOG_KIND_U64, LOG_KIND_I64, LOG_KIND_F64, LOG_KIND_BOOL };
struct log_field {
    const char *key; // [a-z0-9_.]: written as it is
    enum log_kind kind;
    union {
        const char *str; // escaped; NULL is written as ""
        uint64_t u64;
        int64_t i64;
        double f64;
        bool boolean;
    };
};
#define LOG_STR(k, v)  ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .str = (v)})
#define LOG_U64(k, v)  ((struct log_field){.key = (k), .kind = LOG_KIND_U64, .u64 = (v)})
#define LOG_I64(k, v)  ((struct log_field){.key = (k), .kind = LOG_KIND_I64, .i64 = (v)})
#define LOG_F64(k, v)  ((struct log_field){.key = (k), .kind = LOG_KIND_F64, .f64 = (v)})
#define LOG_BOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_BOOL, .boolean = (v)})
#define LOG_ERR(err)   LOG_STR("error", (err)->text)        // of a struct weir_err *
#define LOG_ERRNO(e)   LOG_STR("error", strerrordesc_np(e)) // of an errno

// Level and format from now on; the level may change while threads log (SIGHUP).
void log_configure(enum log_level level, enum log_format format);
// Where lines go; 2 (stderr) unless changed. For tests.
void log_to_fd(int fd);
bool log_wanted(enum log_level level);

// One line, when the level is wanted. `event` is a stable name for machines, `message` a sentence part for people.
#define log_event(level, event, message, ...) log_event_limited(NULL, level, event, message, ##__VA_ARGS__)

// The same, at most one line an interval; the next line that passes carries repeated=N, how many were held back since.
//   static struct log_limit limit = LOG_LIMIT(10000);
struct log_limit {
    uint64_t interval_ms;
    _Atomic uint64_t next_ns;    // monotonic; 0: never passed yet
    _Atomic uint64_t suppressed; // since the last line that passed
};
#define LOG_LIMIT(ms)                                                                                                  \
    {                                                                                                                  \
        .interval_ms = (ms)                                                                                            \
    }
#define log_event_limited(limit, level, event, message, ...)                                                           \
    log_write(limit, level, event, message, (const struct log_field[]){{.key = NULL}, ##__VA_ARGS__},                  \
              sizeof((const struct log_field[]){{.key = NULL}, ##__VA_ARGS__}) / sizeof(struct log_field))

// Whether a line may pass at `now_ns` (weir_now_ns); then *repeated is the number held back before it.
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *repeated);

// What the macros call: fields[0] is a place holder, so that a line without fields is valid C.
void log_write(struct log_limit *limit, enum log_level level, const char *event, const char *message,
               const struct log_field *fields, size_t count);
// The line that log_write writes, without its newline, appended to `out`. False when memory is out. Pure: for tests.
bool log_format_line(struct weir_buf *out, enum log_format format, uint64_t unix_ns, enum log_level level,
                     const char *event, const char *message, const struct log_field *fields, size_t count);

#endif
