// SPDX-License-Identifier: Apache-2.0
// The directory as it may be found: for each page, each file's size and each name, how much of what is open reached the disk.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/powercut/disk.h"

// How much of what is open reached the disk.
struct chance {
    uint64_t seed;
    unsigned data; // per cent of pages
    unsigned torn; // one page in so many; 0: none
    bool in_order; // names as a journal writes them, one after the other
    bool none, all;
};

static struct chance chance_of(uint64_t seed)
{
    static const uint8_t per_cent[] = {3, 20, 50, 80, 97};
    static const uint8_t torn[] = {0, 2, 8, 32};
    struct dice dice = {seed};
    struct chance c = {.seed = mix(seed)};
    uint64_t kind = roll(&dice, 12);
    c.none = kind == 0;
    c.all = kind == 1;
    c.in_order = roll(&dice, 2) == 0;
    c.data = per_cent[roll(&dice, WEIR_COUNT(per_cent))];
    c.torn = torn[roll(&dice, WEIR_COUNT(torn))];
    return c;
}

// How many of the `n` changes of that page are in this sector.
static uint64_t sector_version(const struct chance *c, uint32_t file, size_t page, unsigned sector, uint64_t n)
{
    if (c->none || c->all)
        return c->all ? n : 0;
    uint64_t x = mix4(c->seed, file, page, 1);
    if (c->torn != 0 && x % c->torn == 0)
        x = mix4(c->seed, file, page, 2 + sector);
    x /= 64;
    if (x % 4 == 0) // flushed at some moment in between
        return x / 4 % (n + 1);
    return x / 4 % 100 < c->data ? n : 0;
}

// The journal's part: how many of the changes of the file's size are done. A write behind the end is one.
static uint64_t sizes_done(const struct disk *disk, uint32_t f, const struct chance *c, size_t *done)
{
    const struct disk_file *file = &disk->file[f];
    struct dice dice = {mix4(c->seed, f, 0, 99)};
    uint64_t size = file->size, changes = 0;
    for (size_t k = 0; k < file->open.n; k++) {
        const struct event *e = &disk->trace->at[file->open.at[k]];
        bool grows = e->kind == EVENT_WRITE && e->offset + e->len > size;
        size = e->kind == EVENT_SIZE ? e->offset : grows ? e->offset + e->len : size;
        changes += e->kind == EVENT_SIZE || grows;
    }
    uint64_t most = c->none ? 0 : c->all ? changes : roll(&dice, changes + 1);
    size = file->size;
    *done = most == changes ? file->open.n : 0;
    for (size_t k = 0; k < file->open.n && most > 0; k++) {
        const struct event *e = &disk->trace->at[file->open.at[k]];
        bool grows = e->kind == EVENT_WRITE && e->offset + e->len > size;
        if (e->kind != EVENT_SIZE && !grows)
            continue;
        uint64_t end = e->kind == EVENT_SIZE ? e->offset : e->offset + e->len;
        if (--most == 0 && grows && !c->all && roll(&dice, 2) == 0)
            end = size + roll(&dice, end - size + 1); // flushed in the middle of the write
        size = end;
        if (*done < file->open.n)
            *done = k + 1;
    }
    return size;
}

static void put_bytes(int fd, const uint8_t *data, size_t len, uint64_t offset)
{
    ssize_t n = pwrite(fd, data, len, (off_t)offset);
    assert(n == (ssize_t)len);
}

// The pages of a file as they may be found.
struct finding {
    const struct disk *disk;
    const struct disk_file *file;
    const struct chance *chance;
    uint32_t f;
    size_t pages;
    uint8_t **over;    // where a page is not what is on the disk for certain
    uint32_t *touched; // how many open writes there are of a page
    uint32_t *seen;    // of these, so far
};

static void find_own(struct finding *x, size_t p)
{
    if (x->over[p] == NULL && p < x->file->pages_n && x->file->pages[p] != NULL)
        x->over[p] = page_copy(x->file->pages[p]);
}

// Calls `each` for the pages of the `k`-th open write that it is still open for.
static void each_page(struct finding *x, size_t k, void (*each)(struct finding *x, const struct event *e, size_t p))
{
    uint32_t i = x->file->open.at[k];
    const struct event *e = &x->disk->trace->at[i];
    for (size_t p = e->offset / PAGE; p < x->pages && p * PAGE < e->offset + e->len; p++)
        if (p >= x->file->pages_n || x->file->since[p] <= i)
            each(x, e, p);
}

static void find_touched(struct finding *x, const struct event *e, size_t p)
{
    (void)e;
    x->touched[p]++;
}

static void find_written(struct finding *x, const struct event *e, size_t p)
{
    x->seen[p]++;
    find_own(x, p);
    for (unsigned s = 0; s < PAGE / SECTOR; s++)
        if (x->seen[p] <= sector_version(x->chance, x->f, p, s, x->touched[p]))
            page_write(&x->over[p], p, e, (uint64_t)s * SECTOR, (uint64_t)(s + 1) * SECTOR);
}

// `done`: of the open events the first so many have changed the size, if they do.
static void find_pages(struct finding *x, size_t done)
{
    const struct event *events = x->disk->trace->at;
    for (size_t k = 0; k < x->file->open.n; k++)
        if (events[x->file->open.at[k]].kind == EVENT_WRITE)
            each_page(x, k, find_touched);
    for (size_t k = 0; k < x->file->open.n; k++) {
        const struct event *e = &events[x->file->open.at[k]];
        if (e->kind == EVENT_WRITE)
            each_page(x, k, find_written);
        if (e->kind != EVENT_SIZE || k >= done)
            continue;
        for (size_t p = e->offset / PAGE; p < x->pages; p++)
            find_own(x, p);
        pages_cut(x->over, x->pages, e->offset);
    }
}

static void file_image(const struct disk *disk, uint32_t f, const struct chance *c, int fd)
{
    size_t done = 0;
    uint64_t size = sizes_done(disk, f, c, &done);
    struct finding x = {.disk = disk, .file = &disk->file[f], .chance = c, .f = f, .pages = (size + PAGE - 1) / PAGE};
    x.over = calloc(x.pages + 1, sizeof(x.over[0]));
    x.touched = calloc(x.pages + 1, sizeof(x.touched[0]));
    x.seen = calloc(x.pages + 1, sizeof(x.seen[0]));
    assert(x.over != NULL && x.touched != NULL && x.seen != NULL);
    find_pages(&x, done);
    for (size_t p = 0; p < x.pages; p++) {
        find_own(&x, p);
        if (x.over[p] != NULL)
            put_bytes(fd, x.over[p], PAGE, (uint64_t)p * PAGE);
        free(x.over[p]);
    }
    free(x.over);
    free(x.touched);
    free(x.seen);
    int rc = ftruncate(fd, (off_t)size);
    assert(rc == 0);
}

// Which of the open changes of names are done: in a journal's order the first so many of all, else the first so many of each file.
static void names_found(struct disk *disk, const struct chance *c)
{
    uint64_t n = disk->names.n, most = c->none ? 0 : c->all ? n : mix4(c->seed, n, 0, 5) % (n + 1);
    const uint32_t *at = disk->names.at;
    const struct event *events = disk->trace->at;
    if (at == NULL || events == NULL)
        return;
    for (size_t k = 0; k < n; k++) {
        const struct event *e = &events[at[k]];
        uint64_t of_file = 0, rank = 0;
        for (size_t j = 0; j < n; j++) {
            of_file += events[at[j]].file == e->file;
            rank += j < k && events[at[j]].file == e->file;
        }
        bool journal = c->in_order || c->none || c->all;
        if (journal ? k < most : rank < mix4(c->seed, e->file, 0, 6) % (of_file + 1))
            disk_name_done(disk, e);
    }
}

static void image_build(struct disk *disk, const struct chance *c, const char *path)
{
    struct disk names = {.trace = disk->trace, .names = disk->names, .entries_n = disk->entries_n};
    memcpy(names.entry, disk->entry, sizeof(names.entry));
    if (!disk->there && !(disk->there_open && (c->all || (!c->none && mix4(c->seed, 0, 0, 7) % 2 == 0))))
        return;
    names_found(&names, c);
    if (mkdir(path, 0750) != 0)
        assert(errno == EEXIST);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(dir >= 0);
    for (size_t i = 0; i < names.entries_n; i++) {
        int fd = openat(dir, names.entry[i].name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert(fd >= 0);
        file_image(disk, names.entry[i].file, c, fd);
        close(fd);
    }
    close(dir);
}

void disk_image(struct disk *disk, size_t under_way, uint64_t seed, const char *path)
{
    struct chance c = chance_of(seed);
    const struct event *e = under_way != SIZE_MAX ? &disk->trace->at[under_way] : NULL;
    struct indices *list = NULL;
    bool was_open = disk->there_open;
    if (e != NULL && e->kind != EVENT_PROMISE) {
        disk_event_open(disk, under_way);
        if (e->kind == EVENT_WRITE || e->kind == EVENT_SIZE)
            list = &disk->file[e->file].open;
        else if (e->kind == EVENT_CREATE || e->kind == EVENT_RENAME || e->kind == EVENT_UNLINK)
            list = &disk->names;
    }
    image_build(disk, &c, path);
    if (list != NULL)
        list->n--;
    disk->there_open = was_open;
}
