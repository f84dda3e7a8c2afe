// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "relay/process.h"

Test(process, stat_of_a_command_with_an_awkward_name)
{
    struct process_stat stat;
    cr_assert(
        process_stat_parse("12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 140 15 16 17 18 19 20 21 2200 2300 24 25", &stat));
    cr_assert_eq(stat.user_ticks, 140);
    cr_assert_eq(stat.system_ticks, 15);
    cr_assert_eq(stat.start_ticks, 2200);
    cr_assert_eq(stat.virtual_bytes, 2300);
    cr_assert_eq(stat.resident_pages, 24);
}

Test(process, stat_that_is_cut_short_is_refused)
{
    struct process_stat stat;
    cr_assert_not(process_stat_parse("", &stat));
    cr_assert_not(process_stat_parse("12 (weir", &stat));
    cr_assert_not(process_stat_parse("12 (weir) S 1 2 3 4 5 6 7 8 9 10 140 15", &stat));
}

Test(process, this_process)
{
    struct process_stats stats;
    cr_assert(process_stats_get(&stats));
    cr_assert_gt(stats.resident_bytes, 100000);
    cr_assert_gt(stats.virtual_bytes, stats.resident_bytes);
    cr_assert_geq(stats.max_fds, stats.open_fds);
    uint64_t before = stats.open_fds;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert(process_stats_get(&stats));
    cr_assert_eq(stats.open_fds, before + 1);
    close(fd);
    double now = (double)weir_now_unix_ns() / 1e9;
    cr_assert(stats.start_unix_seconds > now - 3600 && stats.start_unix_seconds < now + 5, "started at %f, now %f",
              stats.start_unix_seconds, now);
}
