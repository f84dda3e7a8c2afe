// SPDX-License-Identifier: Apache-2.0
#include "tests/model/power.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE      4096u
#define SECTOR    512u
#define FILES     64u
#define NOTES_MAX 4096u // what is written beyond that without a flush has reached the disk by itself

static struct {
    ino_t inode;
    int fd; // of our own: LMDB closes its; -1: none
} files[FILES];

static struct note {
    unsigned file;
    off_t page;
    uint8_t before[PAGE];
} * notes;
static size_t notes_n;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// The slot of the file; a new one with `add`. FILES: none.
static unsigned find_file(int fd, bool add)
{
    struct stat st;
    unsigned spare = FILES;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return FILES;
    for (unsigned i = 0; i < FILES; i++) {
        if (files[i].inode == st.st_ino)
            return i;
        spare = files[i].inode == 0 && spare == FILES ? i : spare;
    }
    if (!add || spare == FILES)
        return FILES;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); // which may be open for writing alone
    files[spare].fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    files[spare].inode = files[spare].fd >= 0 ? st.st_ino : 0;
    return files[spare].fd >= 0 ? spare : FILES;
}

static void forget_file(unsigned file)
{
    close(files[file].fd);
    files[file].inode = 0;
    files[file].fd = -1;
}

void power_note(int fd, off_t offset, size_t len)
{
    int saved = errno;
    pthread_mutex_lock(&lock);
    if (notes == NULL)
        notes = malloc(NOTES_MAX * sizeof(*notes));
    unsigned file = notes != NULL && len > 0 ? find_file(fd, true) : FILES;
    off_t end = (off_t)((uint64_t)offset + len);
    for (off_t page = offset / (off_t)PAGE; file < FILES && page * (off_t)PAGE < end && notes_n < NOTES_MAX; page++) {
        struct note *note = &notes[notes_n++];
        *note = (struct note){.file = file, .page = page};
        if (syscall(SYS_pread64, files[file].fd, note->before, PAGE, page * (off_t)PAGE) < 0)
            notes_n--;
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}

void power_flushed(int fd)
{
    int saved = errno;
    pthread_mutex_lock(&lock);
    unsigned file = find_file(fd, false);
    size_t kept = 0;
    for (size_t i = 0; file < FILES && i < notes_n; i++)
        if (notes[i].file != file)
            notes[kept++] = notes[i];
    if (file < FILES) {
        notes_n = kept;
        forget_file(file);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}

static void put_back(const struct note *note, unsigned sectors)
{
    struct stat st;
    int fd = files[note->file].fd;
    off_t at = note->page * (off_t)PAGE;
    for (unsigned i = 0; i < PAGE / SECTOR; i++, at += SECTOR) {
        if (!(sectors >> i & 1) || fstat(fd, &st) != 0 || at + (off_t)SECTOR > st.st_size)
            continue;
        if (syscall(SYS_pwrite64, fd, note->before + i * SECTOR, SECTOR, at) != SECTOR)
            perror("power_cut");
    }
}

void power_cut(unsigned seed)
{
    uint32_t x = seed * 2654435761u + 1;
    pthread_mutex_lock(&lock);
    // The last write first: a page that was written twice may be any of three things.
    for (size_t i = notes_n; i > 0; i--) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        if (x % 8 != 7)
            put_back(&notes[i - 1], x % 2 ? 0xff : 0);
        else
            put_back(&notes[i - 1], x >> 8 & 0xff);
    }
    notes_n = 0;
    for (unsigned i = 0; i < FILES; i++)
        if (files[i].inode != 0)
            forget_file(i);
    pthread_mutex_unlock(&lock);
}
