// SPDX-License-Identifier: Apache-2.0
// LD_PRELOAD: a disk whose fdatasync takes as many milliseconds as the file named by WEIR_TEST_FDATASYNC_MS_FILE says at the
// moment of the call, so that a test can slow a running relay down and let it go again.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long delay_ms(void)
{
    const char *path = getenv("WEIR_TEST_FDATASYNC_MS_FILE");
    char text[16] = "";
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    return len > 0 ? strtol(text, NULL, 10) : 0;
}

int fdatasync(int fd)
{
    long ms = delay_ms();
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
    return (int)syscall(SYS_fdatasync, fd);
}
