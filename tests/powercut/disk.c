// SPDX-License-Identifier: Apache-2.0
#include "tests/powercut/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const lie_names[LIES] = {"none", "no-sync", "no-meta-sync", "no-name-sync", "unlink-first", "one-sync"};

static void indices_add(struct indices *list, size_t i)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->at = realloc(list->at, list->cap * sizeof(list->at[0]));
        assert(list->at != NULL);
    }
    list->at[list->n++] = (uint32_t)i;
}

static void file_reach(struct disk_file *file, uint64_t size)
{
    size_t pages = (size + PAGE - 1) / PAGE;
    if (pages <= file->pages_n)
        return;
    file->pages = realloc(file->pages, pages * sizeof(file->pages[0]));
    file->since = realloc(file->since, pages * sizeof(file->since[0]));
    assert(file->pages != NULL && file->since != NULL);
    for (; file->pages_n < pages; file->pages_n++) {
        file->pages[file->pages_n] = NULL;
        file->since[file->pages_n] = 0;
    }
}

// --- what of an event reaches a page -------------------------------------------------------------------------------------

uint8_t *page_copy(const uint8_t *page)
{
    uint8_t *copy = calloc(1, PAGE);
    assert(copy != NULL);
    if (page != NULL)
        memcpy(copy, page, PAGE);
    return copy;
}

void page_write(uint8_t **page, size_t index, const struct event *e, uint64_t from, uint64_t to)
{
    uint64_t base = (uint64_t)index * PAGE, begin = base + from, end = base + to;
    begin = begin < e->offset ? e->offset : begin;
    end = end > e->offset + e->len ? e->offset + e->len : end;
    if (begin >= end || (e->data == NULL && *page == NULL))
        return;
    if (*page == NULL)
        *page = page_copy(NULL);
    if (e->data == NULL)
        memset(*page + (begin - base), 0, end - begin);
    else
        memcpy(*page + (begin - base), e->data + (begin - e->offset), end - begin);
}

void pages_cut(uint8_t **pages, size_t pages_n, uint64_t size)
{
    for (size_t i = size / PAGE; i < pages_n; i++) {
        uint64_t keep = size > (uint64_t)i * PAGE ? size - (uint64_t)i * PAGE : 0;
        if (pages[i] != NULL && keep < PAGE)
            memset(pages[i] + keep, 0, PAGE - keep);
    }
}

// --- what a flush covers -------------------------------------------------------------------------------------------------

static void file_flush(struct disk_file *file, const struct trace *trace)
{
    for (size_t k = 0; k < file->open.n; k++) {
        const struct event *e = &trace->at[file->open.at[k]];
        if (e->kind == EVENT_SIZE) {
            file_reach(file, e->offset);
            if (e->offset < file->size)
                pages_cut(file->pages, file->pages_n, e->offset);
            file->size = e->offset;
            continue;
        }
        uint64_t end = e->offset + e->len;
        file_reach(file, end);
        for (size_t p = e->offset / PAGE; p * PAGE < end; p++)
            if (file->since[p] <= file->open.at[k])
                page_write(&file->pages[p], p, e, 0, PAGE);
        if (end > file->size)
            file->size = end;
    }
    file->open.n = 0;
    memset(file->since, 0, file->pages_n * sizeof(file->since[0]));
}

// A write by a descriptor with O_DSYNC: the pages that it touches are on the disk, and nothing else.
static void file_write_through(struct disk_file *file, const struct trace *trace, size_t i)
{
    const struct event *written = &trace->at[i];
    uint64_t end = written->offset + written->len;
    file_reach(file, end);
    for (size_t p = written->offset / PAGE; p * PAGE < end; p++) {
        for (size_t k = 0; k < file->open.n; k++) {
            const struct event *e = &trace->at[file->open.at[k]];
            if (e->kind == EVENT_WRITE && file->open.at[k] >= file->since[p])
                page_write(&file->pages[p], p, e, 0, PAGE);
        }
        page_write(&file->pages[p], p, written, 0, PAGE);
        file->since[p] = (uint32_t)i + 1;
    }
    if (end > file->size)
        file->size = end;
}

static void entry_drop(struct disk *disk, const char *name, uint32_t file)
{
    for (size_t i = 0; i < disk->entries_n; i++)
        if (strcmp(disk->entry[i].name, name) == 0 && disk->entry[i].file == file) {
            disk->entry[i] = disk->entry[--disk->entries_n];
            return;
        }
}

static void entry_put(struct disk *disk, const char *name, uint32_t file)
{
    size_t i = 0;
    while (i < disk->entries_n && strcmp(disk->entry[i].name, name) != 0)
        i++;
    assert(i < DISK_ENTRIES);
    snprintf(disk->entry[i].name, sizeof(disk->entry[i].name), "%s", name);
    disk->entry[i].file = file;
    disk->entries_n += i == disk->entries_n;
}

void disk_name_done(struct disk *disk, const struct event *e)
{
    if (e->kind != EVENT_CREATE)
        entry_drop(disk, e->name, e->file);
    if (e->kind != EVENT_UNLINK)
        entry_put(disk, e->kind == EVENT_CREATE ? e->name : e->to, e->file);
}

static void names_flush(struct disk *disk)
{
    for (size_t k = 0; k < disk->names.n; k++)
        disk_name_done(disk, &disk->trace->at[disk->names.at[k]]);
    disk->names.n = 0;
}

static bool flush_is_left_out(const struct disk *disk, size_t i)
{
    return disk->lie == LIE_NO_SYNC || (disk->lie == LIE_ONE_SYNC && mix(i) % 16 == 0);
}

void disk_event_open(struct disk *disk, size_t i)
{
    const struct event *e = &disk->trace->at[i];
    assert(e->file < DISK_FILES);
    if (e->kind == EVENT_CREATE || e->kind == EVENT_RENAME || e->kind == EVENT_UNLINK) {
        indices_add(&disk->names, i);
        if (e->file >= disk->files_n)
            disk->files_n = e->file + 1;
    } else if (e->kind == EVENT_WRITE || e->kind == EVENT_SIZE) {
        indices_add(&disk->file[e->file].open, i);
    }
    disk->there_open = disk->there_open || e->kind == EVENT_MKDIR;
}

void disk_apply(struct disk *disk, size_t i)
{
    const struct event *e = &disk->trace->at[i];
    switch (e->kind) {
    case EVENT_WRITE:
        if (e->through && disk->lie != LIE_NO_META_SYNC && disk->lie != LIE_NO_SYNC)
            file_write_through(&disk->file[e->file], disk->trace, i);
        else
            disk_event_open(disk, i);
        break;
    case EVENT_SYNC:
        if (!flush_is_left_out(disk, i))
            file_flush(&disk->file[e->file], disk->trace);
        break;
    case EVENT_SYNC_NAMES:
        if (disk->lie != LIE_NO_NAME_SYNC)
            names_flush(disk);
        break;
    case EVENT_SYNC_ALL:
        for (uint32_t f = 0; f < disk->files_n; f++)
            file_flush(&disk->file[f], disk->trace);
        names_flush(disk);
        disk->there = disk->there || disk->there_open;
        break;
    case EVENT_SYNC_PARENT:
        disk->there = disk->there || disk->there_open;
        break;
    case EVENT_PROMISE:
        break;
    default:
        disk_event_open(disk, i);
    }
}

// --- whole ---------------------------------------------------------------------------------------------------------------

void disk_load(struct disk *disk, const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    disk->there = n >= 0;
    for (int i = 0; i < n; i++) {
        char full[512];
        struct stat st;
        snprintf(full, sizeof(full), "%s/%s", path, names[i]->d_name);
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
            int fd = open(full, O_RDONLY | O_CLOEXEC);
            struct disk_file *file = &disk->file[disk->files_n];
            assert(fd >= 0 && disk->files_n < DISK_FILES);
            entry_put(disk, names[i]->d_name, disk->files_n++);
            file->size = (uint64_t)st.st_size;
            file_reach(file, file->size);
            static const uint8_t zeros[PAGE];
            for (size_t p = 0; p < file->pages_n; p++) {
                uint8_t page[PAGE] = {0};
                ssize_t got = pread(fd, page, PAGE, (off_t)(p * PAGE));
                assert(got > 0);
                if (memcmp(page, zeros, PAGE) != 0)
                    file->pages[p] = page_copy(page);
            }
            close(fd);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

void disk_free(struct disk *disk)
{
    for (uint32_t f = 0; f < DISK_FILES; f++) {
        struct disk_file *file = &disk->file[f];
        for (size_t p = 0; p < file->pages_n; p++)
            free(file->pages[p]);
        free(file->pages);
        free(file->since);
        free(file->open.at);
    }
    free(disk->names.at);
    *disk = (struct disk){0};
}

void disk_compare(struct disk *disk, const char *path, char *why, size_t cap)
{
    struct disk *found = calloc(1, sizeof(*found));
    assert(found != NULL);
    why[0] = '\0';
    for (uint32_t f = 0; f < disk->files_n; f++)
        file_flush(&disk->file[f], disk->trace);
    names_flush(disk);
    disk_load(found, path);
    if (found->entries_n != disk->entries_n)
        snprintf(why, cap, "%zu files, recorded %zu", found->entries_n, disk->entries_n);
    for (size_t i = 0; i < found->entries_n && why[0] == '\0'; i++) {
        size_t j = 0;
        while (j < disk->entries_n && strcmp(disk->entry[j].name, found->entry[i].name) != 0)
            j++;
        if (j == disk->entries_n) {
            snprintf(why, cap, "%s was not recorded", found->entry[i].name);
            break;
        }
        struct disk_file *a = &found->file[found->entry[i].file], *b = &disk->file[disk->entry[j].file];
        if (a->size != b->size)
            snprintf(why, cap, "%s has %llu bytes, recorded %llu", found->entry[i].name, (unsigned long long)a->size,
                     (unsigned long long)b->size);
        static const uint8_t zeros[PAGE];
        for (size_t p = 0; p < a->pages_n && why[0] == '\0'; p++)
            if (memcmp(a->pages[p] != NULL ? a->pages[p] : zeros,
                       p < b->pages_n && b->pages[p] != NULL ? b->pages[p] : zeros, PAGE) != 0)
                snprintf(why, cap, "%s: page %zu was not recorded", found->entry[i].name, p);
    }
    disk_free(found);
    free(found);
}
