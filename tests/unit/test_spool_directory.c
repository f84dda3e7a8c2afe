// SPDX-License-Identifier: Apache-2.0
// Directories that cannot be a spool's: each is refused with words that say what to do, and nothing in it is touched.
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "spool_kit.h"
#include "spool_records.h"

#define SOMEBODY 65534 // a user who owns nothing here

// --- the file system as storage sees it ---------------------------------------------------------------------------------
static uint32_t pretended_magic; // 0: the real one

int fstatfs(int fd, struct statfs *out)
{
    int rc = (int)syscall(SYS_fstatfs, fd, out);
    if (rc == 0 && pretended_magic != 0)
        out->f_type = (__typeof__(out->f_type))pretended_magic;
    return rc;
}

// --- opening in a child ------------------------------------------------------------------------------------------------------
struct answer {
    int code;
    char text[512];
};

static struct answer try_open(const char *directory, bool allow_network)
{
    struct answer answer = {0};
    struct weir_err err = {0};
    struct spool_options options = kit_options(directory, 64);
    options.allow_network_filesystem = allow_network;
    struct spool *spool;
    answer.code = spool_open(&options, &spool, NULL, &err);
    snprintf(answer.text, sizeof(answer.text), "%s", err.text);
    if (answer.code == WEIR_OK)
        spool_close(spool);
    return answer;
}

typedef bool (*prepare_fn)(const char *directory);

// In a process of its own: `prepare` changes what that process is or sees. code -1: it could not.
static struct answer open_in_child(const char *directory, const char *base, prepare_fn prepare)
{
    int ends[2];
    struct answer answer = {.code = -1};
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        answer.code = -1;
        if (prepare(base))
            answer = try_open(directory, false);
        _exit(write(ends[1], &answer, sizeof(answer)) == (ssize_t)sizeof(answer) ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &answer, sizeof(answer));
    close(ends[0]);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(got == (ssize_t)sizeof(answer) && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child died");
    return answer;
}

static bool become_somebody(const char *directory)
{
    (void)directory; // root passes over modes; anybody else does not
    return geteuid() != 0 || (setgid(SOMEBODY) == 0 && setuid(SOMEBODY) == 0);
}

static void expect(const struct answer *answer, int code, const char *directory, const char *words)
{
    cr_assert_eq(answer->code, code, "%d: %s", answer->code, answer->text);
    cr_assert_not_null(strstr(answer->text, directory), "%s", answer->text);
    cr_assert_not_null(strstr(answer->text, words), "%s", answer->text);
}

// --- tests ---------------------------------------------------------------------------------------------------------------------
Test(spool_directory, without_permission)
{
    static const mode_t modes[] = {0, 0500, 0700};
    for (size_t i = 0; i < WEIR_COUNT(modes); i++) {
        char *dir = kit_directory(), path[600];
        if (modes[i] == 0700 && geteuid() != 0) { // somebody else's, which only root can make
            kit_remove_directory(dir);
            continue;
        }
        snprintf(path, sizeof(path), "%s/spool", dir);
        cr_assert_eq(chmod(dir, 0755), 0);
        spool_close(kit_open(path, 64, NULL));
        cr_assert_eq(chmod(path, modes[i]), 0);
        uint64_t before = records_fingerprint(path);
        struct answer answer = open_in_child(path, path, become_somebody);
        cr_assert_eq(records_fingerprint(path), before);
        expect(&answer, WEIR_E_IO, path, "permission denied: give it to the user that weir runs as (uid ");
        cr_assert_eq(chmod(path, 0700), 0);
        kit_remove_directory(strdup(path));
        kit_remove_directory(dir);
    }
}

Test(spool_directory, whose_parent_may_not_be_written)
{
    char *dir = kit_directory(), path[600];
    snprintf(path, sizeof(path), "%s/spool", dir);
    cr_assert_eq(chmod(dir, 0555), 0);
    struct answer answer = open_in_child(path, path, become_somebody);
    expect(&answer, WEIR_E_IO, path, "permission denied");
    cr_assert_neq(access(path, F_OK), 0);
    cr_assert_eq(chmod(dir, 0700), 0);
    kit_remove_directory(dir);
}

// A mount of this process alone: an empty file system with a spool in it, then nothing can be written any more.
static bool make_read_only(const char *directory)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/spool", directory);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("weir", directory, "tmpfs", 0, "size=64m") != 0)
        return false;
    snprintf(path, sizeof(path), "%s/empty", directory);
    if (mkdir(path, 0700) != 0)
        return false;
    snprintf(path, sizeof(path), "%s/spool", directory);
    if (try_open(path, false).code != WEIR_OK)
        return false;
    return mount("weir", directory, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

Test(spool_directory, on_a_read_only_file_system)
{
    static const char *const names[] = {"spool", "empty", "none"};
    char *dir = kit_directory();
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        struct answer answer = open_in_child(path, dir, make_read_only);
        if (answer.code == -1) {
            fprintf(stderr, "spool_directory: SKIPPED: a read-only mount of one's own needs root (or CAP_SYS_ADMIN)\n");
            break;
        }
        expect(&answer, WEIR_E_READ_ONLY, path,
               "read-only file system: mount it for writing, or name another directory");
    }
    kit_remove_directory(dir);
}

Test(spool_directory, not_empty_and_no_spool)
{
    char *dir = kit_directory(), path[600];
    snprintf(path, sizeof(path), "%s/letter.txt", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "dear", 4), 4);
    close(fd);
    uint64_t before = records_fingerprint(dir);
    struct answer answer = try_open(dir, false);
    expect(&answer, WEIR_E_INVALID, dir, "is not empty and no spool (there is letter.txt): name another directory");
    cr_assert_eq(records_fingerprint(dir), before);
    kit_remove_directory(dir);
}

Test(spool_directory, a_file_or_nothing_in_its_place)
{
    char *dir = kit_directory(), path[600], below[700];
    snprintf(path, sizeof(path), "%s/file", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    uint64_t before = records_fingerprint(dir);
    struct answer answer = try_open(path, false);
    expect(&answer, WEIR_E_INVALID, path, "is not a directory: name one");
    snprintf(below, sizeof(below), "%s/spool", path);
    answer = try_open(below, false);
    expect(&answer, WEIR_E_INVALID, below, "is not a directory: name one");
    snprintf(below, sizeof(below), "%s/none/spool", dir);
    answer = try_open(below, false);
    expect(&answer, WEIR_E_IO, below, "its parent directory does not exist: make that first");
    cr_assert_eq(records_fingerprint(dir), before);
    kit_remove_directory(dir);
}

static bool nothing(const char *directory)
{
    return directory != NULL;
}

Test(spool_directory, held_by_another_process)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    spool_sync_state(spool, NULL);
    KIT_UNTIL(kit_files(dir, "spare-", NULL, 0) > 0); // nothing is being made any more
    uint64_t before = records_fingerprint(dir);
    struct answer answer = open_in_child(dir, dir, nothing);
    cr_assert_eq(records_fingerprint(dir), before);
    expect(&answer, WEIR_E_HELD, dir, "is held by weir test: stop that, or name another directory");
    spool_close(spool);
    answer = open_in_child(dir, dir, nothing);
    cr_assert_eq(answer.code, WEIR_OK, "%s", answer.text);
    kit_remove_directory(dir);
}

Test(spool_directory, on_a_network_file_system)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } known[] = {{0x6969, "NFS"}, {0xFE534D42, "SMB2"}, {0xFF534D42, "CIFS"}, {0x00C36400, "Ceph"}, {0x01021997, "9p"}};
    char *dir = kit_directory();
    for (size_t i = 0; i < WEIR_COUNT(known); i++) {
        uint64_t before = records_fingerprint(dir);
        pretended_magic = known[i].magic;
        struct answer answer = try_open(dir, false);
        expect(&answer, WEIR_E_INVALID, dir, "use a local one, or say spool.allow_network_filesystem: true");
        cr_assert_not_null(strstr(answer.text, known[i].name), "%s", answer.text);
        cr_assert_eq(records_fingerprint(dir), before);
    }
    struct answer answer = try_open(dir, true);
    cr_assert_eq(answer.code, WEIR_OK, "%s", answer.text);
    answer = try_open(dir, false); // nor one that is a spool already
    cr_assert_eq(answer.code, WEIR_E_INVALID, "%s", answer.text);
    pretended_magic = 0xEF53; // ext4
    answer = try_open(dir, false);
    cr_assert_eq(answer.code, WEIR_OK, "%s", answer.text);
    kit_remove_directory(dir);
}
