// SPDX-License-Identifier: Apache-2.0
#include "relay/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static bool read_file(const char *path, char *out, size_t cap)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t n = fread(out, 1, cap - 1, file);
    out[n] = '\0';
    fclose(file);
    return n > 0;
}

bool process_stat_parse(const char *text, struct process_stat *out)
{
    const char *behind_name = strrchr(text, ')');
    if (behind_name == NULL)
        return false;
    // Fields 3 state … 14 utime, 15 stime, … 22 starttime, 23 vsize, 24 rss (proc(5)).
    return sscanf(behind_name + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                  " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
                  &out->user_ticks, &out->system_ticks, &out->start_ticks, &out->virtual_bytes,
                  &out->resident_pages) == 5;
}

static uint64_t boot_unix_seconds(void)
{
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    char line[256];
    uint64_t seconds = 0;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "btime %" SCNu64, &seconds) == 1)
            break;
    fclose(file);
    return seconds;
}

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    uint64_t count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; // the directory itself was open while it was read
}

bool process_stats_get(struct process_stats *out)
{
    *out = (struct process_stats){0};
    char text[1024];
    struct process_stat stat;
    if (!read_file("/proc/self/stat", text, sizeof(text)) || !process_stat_parse(text, &stat))
        return false;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    struct rlimit limit;
    out->cpu_seconds = (double)(stat.user_ticks + stat.system_ticks) / ticks;
    out->resident_bytes = stat.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    out->virtual_bytes = stat.virtual_bytes;
    out->open_fds = count_fds();
    out->max_fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
    out->start_unix_seconds = (double)boot_unix_seconds() + (double)stat.start_ticks / ticks;
    return true;
}
