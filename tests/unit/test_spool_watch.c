// SPDX-License-Identifier: Apache-2.0
#include "relay/spool_watch.h"

#include <criterion/criterion.h>

#define SECOND 1000000000ull

Test(spool_watch, tells_each_trouble_once)
{
    struct spool_watch watch = {0};
    cr_assert_not(spool_watch_news(&watch, SPOOL_OK, SECOND));
    cr_assert(spool_watch_news(&watch, SPOOL_FULL, 2 * SECOND));
    cr_assert_not(spool_watch_news(&watch, SPOOL_FULL, 3 * SECOND));
    cr_assert(spool_watch_news(&watch, SPOOL_FAILED, 4 * SECOND));
    cr_assert_eq(watch.told, SPOOL_FAILED);
}

Test(spool_watch, a_spool_at_its_limit_has_not_recovered)
{
    struct spool_watch watch = {0};
    cr_assert(spool_watch_news(&watch, SPOOL_FULL, SECOND));
    for (uint64_t now = 2 * SECOND; now < 60 * SECOND; now += SECOND) {
        bool full = now / SECOND % 5 == 0;
        cr_assert_not(spool_watch_news(&watch, full ? SPOOL_FULL : SPOOL_OK, now));
        cr_assert_eq(watch.told, SPOOL_FULL);
    }
    cr_assert_not(spool_watch_news(&watch, SPOOL_FULL, 60 * SECOND));
    cr_assert_not(spool_watch_news(&watch, SPOOL_OK, 61 * SECOND));
    cr_assert_not(spool_watch_news(&watch, SPOOL_OK, 61 * SECOND + SPOOL_WATCH_WELL_NS - 1));
    cr_assert(spool_watch_news(&watch, SPOOL_OK, 61 * SECOND + SPOOL_WATCH_WELL_NS));
    cr_assert_eq(watch.told, SPOOL_OK);
    cr_assert(spool_watch_news(&watch, SPOOL_FULL, 80 * SECOND));
}
