// SPDX-License-Identifier: Apache-2.0
// The command line, each call in a process of its own: exit code and what was printed where.
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/cli.h"

struct outcome {
    int code;
    char out[32768], err[32768];
};

static void read_back(FILE *file, char *text, size_t size)
{
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

// argp ends the process after --help; what the parent registered to run at exit (the test framework, a leak check of a process
// whose other threads are gone) must not run in the child. Neither may an assertion: with --full-stats the framework would wait
// for ever for the rest of a stranger's.
static void end_now(int status, void *arg)
{
    fflush(stdout);
    fflush(stderr);
    _exit(status);
}

// Runs `weir ARG…`, the arguments separated by single blanks.
static struct outcome weir(const char *arguments)
{
    static struct outcome outcome;
    char line[512], *argv[32] = {(char[]){"weir"}}, *rest = line;
    int argc = 1, status;
    snprintf(line, sizeof(line), "%s", arguments);
    for (char *word; arguments[0] != '\0' && (word = strsep(&rest, " ")) != NULL && argc < 31;)
        argv[argc++] = word;
    FILE *out = tmpfile(), *err = tmpfile();
    cr_assert(out != NULL && err != NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(out), 1);
        dup2(fileno(err), 2);
        on_exit(end_now, NULL);
        exit(cli_main(argc, argv));
    }
    cr_assert_gt(pid, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "weir %s: ended by a signal", arguments);
    outcome.code = WEXITSTATUS(status);
    read_back(out, outcome.out, sizeof(outcome.out));
    read_back(err, outcome.err, sizeof(outcome.err));
    return outcome;
}

#define UP " --upstream http://collector:4317"

Test(cli, exit_codes_and_messages, .init = (void (*)(void))clearenv)
{
    static const struct {
        const char *arguments;
        int code;
        const char *out, *err; // parts; NULL: nothing was printed
    } rows[] = {
        {"version", CLI_DONE, "weir ", NULL},
        {"--version", CLI_DONE, "weir ", NULL},
        {"help", CLI_DONE, "  check-config ", NULL},
        {"--help", CLI_DONE, "Exit codes: 0 done", NULL},
        {"help config", CLI_DONE, "upstreams[].timeout: 10s  [10ms to 1h]", NULL},
        {"help status", CLI_DONE, "--watch", NULL},
        {"-h", CLI_DONE, "Exit codes: 0 done", NULL},
        {"status -h", CLI_DONE, "--watch", NULL},
        {"help spool", CLI_DONE, "  salvage ", NULL},
        {"help findings", CLI_DONE, "W204  damage  blocks that a lane needs are missing\n", NULL},
        {"spool", CLI_USAGE, NULL, "usage: weir spool VERB DIR"},
        {"spool --help", CLI_DONE, "  verify ", NULL},
        {"spool verfy x", CLI_USAGE, NULL, "weir: unknown command 'spool verfy' (did you mean 'spool verify'?)\n"},
        {"spool stat", CLI_USAGE, NULL, "weir spool stat: which directory? weir spool stat DIR\n"},
        {"spool stat /nonexistent", CLI_USAGE, NULL, "weir: /nonexistent: No such file or directory\n"},
        {"spool stat x y", CLI_USAGE, NULL, "weir spool stat: unexpected argument 'y'\n"},
        {"spool stat x --lanes", CLI_USAGE, NULL, "weir spool stat: unrecognized option '--lanes'\n"},
        {"spool list --help", CLI_DONE, "--dead-letters", NULL},
        {"spool list x --since noon", CLI_USAGE, NULL, "weir: 'noon' is no time"},
        {"spool salvage x --yes", CLI_USAGE, NULL, "weir: --yes: where to? add --to NEWDIR\n"},
        {"help me", CLI_USAGE, NULL, "weir: no help on 'me'"},
        {"run --help", CLI_DONE, "--upstream=URL", NULL},
        {"status --help", CLI_DONE, "--watch", NULL},
        {"print-config --help", CLI_DONE, "--keys", NULL},
        {"", CLI_USAGE, NULL,
         "configuration: no upstream says where to deliver: add one, for example weir run --upstream "
         "http://collector:4317\n"},
        {"run", CLI_USAGE, NULL, "configuration: no upstream says where to deliver"},
        {"--grpc x", CLI_USAGE, NULL, "--grpc: 'x' is not host:port or off\n"},
        {"run --grcp x", CLI_USAGE, NULL, "weir run: unrecognized option '--grcp'\n"},
        {"run --spool", CLI_USAGE, NULL, "weir run: option '--spool' requires an argument\n"},
        {"run x", CLI_USAGE, NULL, "weir run: unexpected argument 'x'\n"},
        {"run --json", CLI_USAGE, NULL, "weir run: unrecognized option '--json'\n"},
        {"version x", CLI_USAGE, NULL, "weir version: unexpected argument 'x'\n"},
        {"statsu", CLI_USAGE, NULL, "weir: unknown command 'statsu' (did you mean 'status'?)\n"},
        {"deliver", CLI_USAGE, NULL, "weir: unknown command 'deliver': `weir help` lists all\n"},
        {"run --config /nonexistent/weir.yaml", CLI_USAGE, NULL, "/nonexistent/weir.yaml: No such file or directory\n"},
        {"check-config --config /nonexistent/weir.yaml", CLI_FAILED, NULL,
         "/nonexistent/weir.yaml: No such file or directory\n"},
        {"check-config", CLI_FAILED, NULL, "configuration: no upstream says where to deliver"},
        {"check-config" UP, CLI_DONE, "configuration: sound, 1 upstream\n", NULL},
        {"check-config --config relay/weir.example.yaml", CLI_DONE, "relay/weir.example.yaml: sound, 1 upstream\n",
         NULL},
        {"check-config" UP UP, CLI_DONE, "configuration: sound, 2 upstreams\n", NULL},
        {"check-config" UP " --set receiver.workers=0 --set a=b", CLI_FAILED, NULL,
         "--set receiver.workers: 0 is out of range (1 to 64)\n--set a: unknown key (`weir help config` lists all)\n"},
        {"print-config --set a=b", CLI_USAGE, NULL, "--set a: unknown key"},
        {"print-config" UP " --spool /s --grpc :1 --http off --admin :2 --set log.level=warn", CLI_DONE,
         "directory: \"/s\"\n", NULL},
        {"replay --help", CLI_DONE, "--dry-run", NULL},
        {"replay", CLI_USAGE, NULL, "weir: name the upstream: weir replay UPSTREAM --since -2h\n"},
        {"replay a b", CLI_USAGE, NULL, "weir replay: unexpected argument 'b'\n"},
        {"replay a", CLI_USAGE, NULL, "weir: say what to replay: --since T [--until T], or --blocks A-B\n"},
        {"replay a --since -1h --blocks 1-2", CLI_USAGE, NULL, "weir: say what to replay: "},
        {"replay a --until -1h", CLI_USAGE, NULL, "weir: say what to replay: "},
        {"replay a --since yesterday", CLI_USAGE, NULL, "weir: --since: 'yesterday' is no time: take RFC 3339"},
        {"replay a --since -1h --until 1h", CLI_USAGE, NULL, "weir: --until: '1h' is no time"},
        {"replay a --since -1h --until -2h", CLI_USAGE, NULL, "weir: --until must be after --since\n"},
        {"replay a --blocks 7-5", CLI_USAGE, NULL, "weir: --blocks: '7-5' are no blocks"},
        {"replay a --blocks 5-7 --signal log", CLI_USAGE, NULL, "weir: --signal: 'log' is no signal"},
        {"replay a --since -1h --admin http://127.0.0.1:1", CLI_FAILED, NULL, "is weir running"},
        {"replay a --since -1h --token-file /nonexistent", CLI_FAILED, NULL,
         "weir: --token-file: /nonexistent: No such file"},
        {"print-config --keys", CLI_DONE, "log.level\tenum\tinfo\t", NULL},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct outcome outcome = weir(rows[i].arguments);
        cr_expect_eq(outcome.code, rows[i].code, "weir %s: exit code %d", rows[i].arguments, outcome.code);
        if (rows[i].out != NULL)
            cr_expect(strstr(outcome.out, rows[i].out) != NULL, "weir %s: printed\n%s", rows[i].arguments, outcome.out);
        else
            cr_expect_str_eq(outcome.out, "", "weir %s: printed\n%s", rows[i].arguments, outcome.out);
        if (rows[i].err != NULL)
            cr_expect(strstr(outcome.err, rows[i].err) != NULL, "weir %s: complained\n%s", rows[i].arguments,
                      outcome.err);
        else
            cr_expect_str_eq(outcome.err, "", "weir %s: complained\n%s", rows[i].arguments, outcome.err);
    }
}

Test(cli, quick_flags_reach_the_configuration, .init = (void (*)(void))clearenv)
{
    struct outcome outcome =
        weir("print-config --upstream grpc://a --upstream http://b:1/x --spool /s --grpc :1 --http off --admin :2 "
             "--set upstreams.default-2.timeout=1s");
    static const char *const parts[] = {"  grpc:\n    endpoint: \":1\"\n",
                                        "  http:\n    endpoint: \"off\"\n",
                                        "  directory: \"/s\"\n",
                                        "  - name: \"default\"\n    endpoint: \"grpc://a\"\n",
                                        "  - name: \"default-2\"\n    endpoint: \"http://b:1/x\"\n",
                                        "    timeout: 1s\n",
                                        "admin:\n  endpoint: \":2\"\n"};
    cr_assert_eq(outcome.code, CLI_DONE, "%s", outcome.err);
    for (size_t i = 0; i < WEIR_COUNT(parts); i++)
        cr_assert(strstr(outcome.out, parts[i]) != NULL, "'%s' is missing in\n%s", parts[i], outcome.out);
}

Test(cli, too_many_of_a_flag)
{
    char weir_word[] = "weir", check[] = "check-config", flag[] = "--upstream", url[] = "c";
    char *argv[2 * CONFIG_MAX_UPSTREAMS + 5] = {weir_word, check};
    int argc = 2;
    for (int i = 0; i <= CONFIG_MAX_UPSTREAMS; i++) {
        argv[argc++] = flag;
        argv[argc++] = url;
    }
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) ==
            NULL) // no assertion here: the framework waits for ever for a stranger's
            _exit(99);
        on_exit(end_now, NULL);
        exit(cli_main(argc, argv));
    }
    cr_assert_gt(pid, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == CLI_USAGE);
}
