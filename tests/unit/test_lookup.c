// SPDX-License-Identifier: Apache-2.0
#include "relay/lookup.h"

#include "relay/log.h"

#include <criterion/criterion.h>
#include <unistd.h>

// A label above 63 characters fits into no query: nothing leaves the machine.
#define NO_HOST "h2345678901234567890123456789012345678901234567890123456789012345.example"

Test(lookup, only_a_host_without_an_address_is_told)
{
    static char near[] = "near", far[] = "far", loopback[] = "127.0.0.1", none[] = NO_HOST;
    struct config config = {.upstream_count = 2};
    config.upstreams[0].name = near;
    config.upstreams[0].target.host = loopback;
    config.upstreams[1].name = far;
    config.upstreams[1].target.host = none;
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    log_to_fd(fds[1]);
    lookup_upstreams(&config);
    char line[1024];
    ssize_t n = read(fds[0], line, sizeof(line) - 1); // waits for the thread's line, which is written whole
    cr_assert_gt(n, 0);
    line[n] = '\0';
    cr_expect_not_null(strstr(line, " WARN  "), "%s", line);
    cr_expect_not_null(strstr(line, "event=upstream_unresolved upstream=far host=" NO_HOST " error="), "%s", line);
    cr_expect_null(strstr(line, "near"), "%s", line);
    log_to_fd(STDERR_FILENO);
}
