// SPDX-License-Identifier: Apache-2.0
#include "relay/spool_watch.h"

#include "relay/log.h"
#include "storage/stats.h"

static const struct {
    enum log_level level;
    const char *event, *message;
} lines[] = {
    [SPOOL_OK] = {LOG_INFO, "spool_ok", "the spool takes data again"},
    [SPOOL_FULL] = {LOG_WARN, "spool_full",
                    "the spool is full: senders are refused with a delay and keep their data until space is free"},
    [SPOOL_FAILED] = {LOG_ERROR, "spool_failed",
                      "the disk refuses writes: senders are refused with a delay until it takes them again"},
    [SPOOL_READ_ONLY] = {LOG_ERROR, "spool_read_only",
                         "the disk is read-only: what waits is delivered, senders are refused with a delay"},
};

bool spool_watch_news(struct spool_watch *watch, enum spool_state state, uint64_t now_ns)
{
    if (state != SPOOL_OK) {
        bool news = state != watch->told;
        *watch = (struct spool_watch){.told = state};
        return news;
    }
    if (watch->told == SPOOL_OK)
        return false;
    if (watch->well_since_ns == 0)
        watch->well_since_ns = now_ns;
    if (now_ns - watch->well_since_ns < SPOOL_WATCH_WELL_NS)
        return false;
    *watch = (struct spool_watch){.told = SPOOL_OK};
    return true;
}

void spool_watch_look(struct spool_watch *watch, struct spool *spool, uint64_t now_ns)
{
    if (!spool_watch_news(watch, spool_state_now(spool), now_ns))
        return;
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    log_event(lines[watch->told].level, lines[watch->told].event, lines[watch->told].message,
              LOG_STR("reason", stats.reason), LOG_U64("used_bytes", stats.used_bytes),
              LOG_U64("max_bytes", stats.max_bytes), LOG_U64("disk_free_bytes", stats.disk_free_bytes));
}
