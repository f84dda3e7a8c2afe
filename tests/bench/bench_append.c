// SPDX-License-Identifier: Apache-2.0
// The machine's own limit: append + fdatasync of the same bytes, one writer. Prints one JSON line.
//   bench_append DIRECTORY BYTES SECONDS
#include "proto/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_append DIRECTORY BYTES SECONDS\n");
        return 2;
    }
    size_t bytes = strtoull(argv[2], NULL, 10), count = 0;
    static uint64_t times[1 << 20];
    static uint8_t data[64u << 20];
    char path[4096];
    snprintf(path, sizeof(path), "%s/append-XXXXXX", argv[1]);
    int fd = mkstemp(path);
    if (bytes > sizeof(data) || fd < 0) {
        perror(path);
        return 1;
    }
    unlink(path);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    uint64_t start_ns = weir_now_ns(), end_ns = start_ns + (uint64_t)(atof(argv[3]) * 1e9), now_ns = start_ns;
    while (now_ns < end_ns && count < WEIR_COUNT(times)) {
        uint64_t before_ns = now_ns;
        if (write(fd, data, bytes) != (ssize_t)bytes || fdatasync(fd) != 0) {
            perror("append");
            return 1;
        }
        now_ns = weir_now_ns();
        times[count++] = now_ns - before_ns;
    }
    double seconds = (double)(now_ns - start_ns) / 1e9;
    qsort(times, count, sizeof(*times), compare);
    size_t half = count / 2, last_percent = count * 99 / 100;
    printf("{\"appends\": %zu, \"per_second\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", count,
           (double)count / seconds, (double)times[half] / 1e3, (double)times[last_percent] / 1e3);
    close(fd);
    return 0;
}
