// SPDX-License-Identifier: Apache-2.0
// The command line by argp: one table of commands, one of options, each option with the commands that take it.
#include <argp.h>
#include <stdio.h>

#include "relay/cli.h"
#include "relay/cli_spool.h"
#include "relay/cli_values.h"
#include "relay/config_print.h"
#include "relay/config_table.h"

static int run(const struct cli *cli)
{
    struct config config;
    if (!cli_load_config(cli, &config))
        return CLI_USAGE;
    log_configure(config.log.level, config.log.format);
    int code = cmd_run(&config, &cli->input);
    config_free(&config);
    return code;
}

static int help(const struct cli *cli);
static bool group_help(const char *word, FILE *out);

enum {
    RUN = 1,
    CHECK = 2,
    PRINT = 4,
    STATUS = 8,
    HELP = 16,
    VERSION = 32,
    REPLAY = 64,
    DRAIN = 128,
    PAUSE = 256,
    RESUME = 512,
    DISCARD = 1024,
    CONFIG = RUN | CHECK | PRINT,
    OF_UPSTREAM = REPLAY | PAUSE | RESUME | DISCARD,
    DEAD_LIST = 2048,
    DEAD_SHOW = 4096,
    DEAD_REDRIVE = 8192,
    DEAD_PURGE = 16384,
    DEAD_LETTERS = DEAD_LIST | DEAD_SHOW | DEAD_REDRIVE | DEAD_PURGE, // `weir deadletter VERB`
    DEAD_CHANGE = DEAD_REDRIVE | DEAD_PURGE,
    CHANGING = OF_UPSTREAM | DRAIN | DEAD_LETTERS,
    ASKING = STATUS | CHANGING // a running weir
};
enum { STAT = 1 << 16, LIST = 1 << 17, VERIFY = 1 << 18, SALVAGE = 1 << 19, EXPORT = 1 << 20 };
#define SPOOL (STAT | LIST | VERIFY | SALVAGE | EXPORT) // `weir spool VERB DIR`: a command of two words

static const struct command {
    const char *name;
    int (*call)(const struct cli *cli);
    int bit;
    const char *args; // of usage: what may stand there that is no option
    const char *doc;
} commands[] = {
    {"run", run, RUN, "", "take OTLP in, keep it durably, deliver it (the default)"},
    {"check-config", cmd_check_config, CHECK, "", "report everything wrong with the configuration; exit 0 or 1"},
    {"print-config", cmd_print_config, PRINT, "", "print the effective configuration as YAML, defaults included"},
    {"status", cmd_status, STATUS, "", "show what a running weir holds and where it goes"},
    {"replay", cmd_replay, REPLAY, "UPSTREAM", "deliver to an upstream once more what was delivered and kept"},
    {"drain", cmd_drain, DRAIN, "", "take no more data, deliver all, wait for it; exit 0 empty, 3 time ran out"},
    {"pause", cmd_pause, PAUSE, "UPSTREAM", "send an upstream nothing more; its data waits in the spool"},
    {"resume", cmd_resume, RESUME, "UPSTREAM", "let a paused upstream go on"},
    {"discard", cmd_discard, DISCARD, "UPSTREAM", "give up what a removed upstream was still to get"},
    {"deadletter list", cmd_deadletter_list, DEAD_LIST, "",
     "list what upstreams refused for good, without its content"},
    {"deadletter show", cmd_deadletter_show, DEAD_SHOW, "ID", "print one as OTLP/JSON, with why it was refused"},
    {"deadletter redrive", cmd_deadletter_redrive, DEAD_REDRIVE, "ID... | --all", "send dead letters again"},
    {"deadletter purge", cmd_deadletter_purge, DEAD_PURGE, "ID... | --all", "remove dead letters for good"},
    {"spool stat", cmd_spool_stat, STAT, "DIR", "sum up a spool that no process holds: backlog, sizes, damage"},
    {"spool list", cmd_spool_list, LIST, "DIR", "list its files and segments, or its blocks, lanes, dead letters"},
    {"spool verify", cmd_spool_verify, VERIFY, "DIR",
     "check every byte of a spool; exit 0 sound, 1 damaged, 2 no spool"},
    {"spool export", cmd_spool_export, EXPORT, "DIR",
     "write what is stored as OTLP/JSON lines, which a collector's otlpjsonfile receiver reads"},
    {"spool salvage", cmd_spool_salvage, SALVAGE, "DIR", "save what is whole of a damaged spool into a new directory"},
    {"version", cmd_version, VERSION, "", "print the version"},
    {"help", help, HELP, "[COMMAND|config|findings]",
     "this list; `help config` explains every configuration key, `help findings` what spool verify finds"},
};

enum {
    OPT_CONFIG = 256,
    OPT_UPSTREAM,
    OPT_SPOOL,
    OPT_GRPC,
    OPT_HTTP,
    OPT_ADMIN,
    OPT_SET,
    OPT_KEYS,
    OPT_ADMIN_URL,
    OPT_JSON,
    OPT_WATCH,
    OPT_SINCE,
    OPT_UNTIL,
    OPT_BLOCKS,
    OPT_SIGNAL,
    OPT_DRY_RUN,
    OPT_TOKEN_FILE,
    OPT_CA_FILE,
    OPT_SHOW_BLOCKS,
    OPT_SHOW_LANES,
    OPT_SHOW_DEAD_LETTERS,
    OPT_TO,
    OPT_YES,
    OPT_LANE,
    OPT_WAIT,
    OPT_CANCEL,
    OPT_ALL,
    OPT_OUTPUT = 'o',
};

static const struct option_row {
    int commands; // bits of those that take it
    struct argp_option option;
} options[] = {
    {CONFIG, {"config", OPT_CONFIG, "FILE", 0, "YAML file to read; without it defaults and the options below hold", 0}},
    {CONFIG,
     {"upstream", OPT_UPSTREAM, "URL", 0,
      "deliver to grpc://, grpcs://, http:// or https://host:port instead of the file's upstreams; may be repeated "
      "(named default, default-2, ...)",
      0}},
    {CONFIG, {"spool", OPT_SPOOL, "DIR", 0, "keep data there (spool.directory)", 0}},
    {CONFIG, {"grpc", OPT_GRPC, "ADDR", 0, "take OTLP/gRPC at host:port, or off (receiver.grpc.endpoint)", 0}},
    {CONFIG, {"http", OPT_HTTP, "ADDR", 0, "take OTLP/HTTP at host:port, or off (receiver.http.endpoint)", 0}},
    {CONFIG, {"admin", OPT_ADMIN, "ADDR", 0, "serve status and metrics at host:port, or off (admin.endpoint)", 0}},
    {CONFIG,
     {"set", OPT_SET, "KEY=VALUE", 0, "set any configuration key (`weir help config` lists them); may be repeated", 0}},
    {PRINT, {"keys", OPT_KEYS, NULL, 0, "print every key with type, default and help, separated by tabs, instead", 0}},
    {ASKING, {"admin", OPT_ADMIN_URL, "URL", 0, "of the running weir (http://127.0.0.1:9464)", 0}},
    {STATUS | OF_UPSTREAM, {"json", OPT_JSON, NULL, 0, "print the answer's document as it is", 0}},
    {DRAIN, {"json", OPT_JSON, NULL, 0, "print the status at the end, or --cancel's answer, as JSON", 0}},
    {DEAD_LIST, {"json", OPT_JSON, NULL, 0, "print one JSON object a line, of each dead letter", 0}},
    {DEAD_SHOW, {"json", OPT_JSON, NULL, 0, "print it as one line", 0}},
    {DEAD_CHANGE, {"json", OPT_JSON, NULL, 0, "print the answers, one JSON document a line, page by page", 0}},
    {ASKING,
     {"ca-file", OPT_CA_FILE, "FILE", 0, "PEM file of the authorities to trust when URL is https:// (the system's)",
      0}},
    {STATUS, {"watch", OPT_WATCH, NULL, 0, "show it again each second", 0}},
    {REPLAY, {"since", OPT_SINCE, "TIME", 0, "what was received from then on: 2026-11-20T11:00:00Z, or -2h", 0}},
    {REPLAY, {"until", OPT_UNTIL, "TIME", 0, "and before then (now)", 0}},
    {REPLAY, {"blocks", OPT_BLOCKS, "A-B", 0, "instead of a time: the blocks of these numbers, both included", 0}},
    {REPLAY,
     {"signal", OPT_SIGNAL, "NAME", 0, "traces, metrics, logs or profiles alone, not all that the upstream takes", 0}},
    {REPLAY, {"dry-run", OPT_DRY_RUN, NULL, 0, "only count what it would be", 0}},
    {DRAIN,
     {"wait", OPT_WAIT, "TIME", 0, "how long to wait for the end (" CLI_DRAIN_WAIT "); 0s: only say what is left", 0}},
    {DRAIN, {"cancel", OPT_CANCEL, NULL, 0, "take it back: weir takes data again", 0}},
    {DISCARD, {"signal", OPT_SIGNAL, "NAME", 0, "only its traces, metrics, logs or profiles", 0}},
    {DISCARD, {"yes", OPT_YES, NULL, 0, "do it; without it, say what would be given up and ask", 0}},
    {DEAD_CHANGE, {"all", OPT_ALL, NULL, 0, "all there are, or all of --upstream and --signal", 0}},
    {DEAD_LIST | DEAD_CHANGE, {"upstream", OPT_LANE, "NAME", 0, "only those of that upstream", 0}},
    {DEAD_LIST | DEAD_CHANGE, {"signal", OPT_SIGNAL, "NAME", 0, "only traces, metrics, logs or profiles", 0}},
    {CHANGING, {"token-file", OPT_TOKEN_FILE, "FILE", 0, "holds the token of the running weir's admin.token_file", 0}},
    {STAT | SALVAGE, {"json", OPT_JSON, NULL, 0, "print one JSON document", 0}},
    {SALVAGE, {"to", OPT_TO, "NEWDIR", 0, "write there: a directory that is empty or does not exist yet", 0}},
    {SALVAGE, {"yes", OPT_YES, NULL, 0, "do it; without it, only say what would be saved and lost", 0}},
    {LIST | VERIFY, {"json", OPT_JSON, NULL, 0, "print one JSON object a line", 0}},
    {LIST,
     {"blocks", OPT_SHOW_BLOCKS, "A-B", OPTION_ARG_OPTIONAL, "list blocks, or those with numbers from A to B", 0}},
    {LIST, {"lanes", OPT_SHOW_LANES, NULL, 0, "list what each upstream has still to get", 0}},
    {LIST, {"dead-letters", OPT_SHOW_DEAD_LETTERS, NULL, 0, "list what upstreams would not take", 0}},
    {LIST | EXPORT, {"signal", OPT_SIGNAL, "SIGNAL", 0, "only traces, metrics, logs or profiles", 0}},
    {LIST | EXPORT,
     {"since", OPT_SINCE, "TIME", 0, "only what was received since then: RFC 3339, or -2h for two hours ago", 0}},
    {LIST | EXPORT, {"until", OPT_UNTIL, "TIME", 0, "only what was received before", 0}},
    {EXPORT, {"blocks", OPT_BLOCKS, "A-B", 0, "only blocks with numbers from A to B, both included", 0}},
    {EXPORT, {"upstream", OPT_LANE, "NAME", 0, "only what that upstream has still to get", 0}},
    {EXPORT, {"dead-letters", OPT_SHOW_DEAD_LETTERS, NULL, 0, "what upstreams would not take, instead", 0}},
    {EXPORT, {"output", OPT_OUTPUT, "FILE", 0, "write there (made for its owner alone) instead of to stdout", 0}},
    {EXPORT, {"json", OPT_JSON, NULL, 0, "the account on stderr as a JSON object", 0}},
};

// What the parser functions of one command share.
struct parsing {
    struct cli *cli;
    const struct command *command;
};

static void add_repeated(struct argp_state *state, const char **list, size_t *count, size_t max, const char *arg)
{
    if (*count >= max)
        argp_error(state, "more than %zu times", max);
    else
        list[(*count)++] = arg;
}

// What is no option: the topic of help, the directory of a spool, and the numbers behind a --blocks that stands alone.
static void take_argument(struct argp_state *state, const char *arg)
{
    const struct parsing *parsing = state->input;
    struct cli *cli = parsing->cli;
    uint64_t first, end;
    if (parsing->command->bit == HELP && cli->topic == NULL)
        cli->topic = arg;
    else if (parsing->command->bit & OF_UPSTREAM && cli->upstream == NULL)
        cli->upstream = arg;
    else if (parsing->command->bit & (DEAD_SHOW | DEAD_CHANGE) && cli->id_count < WEIR_COUNT(cli->ids))
        cli->ids[cli->id_count++] = arg;
    else if (cli->show_blocks && cli->blocks == NULL && cli_blocks_parse(arg, &first, &end, NULL) == WEIR_OK)
        cli->blocks = arg;
    else if (parsing->command->bit & SPOOL && cli->directory == NULL)
        cli->directory = arg;
    else
        argp_error(state, "unexpected argument '%s'", arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    struct cli *cli = parsing->cli;
    const struct {
        int key;
        const char **text;
        bool *flag;
    } simple[] = {
        {OPT_CONFIG, &cli->input.file, NULL},
        {OPT_SPOOL, &cli->input.spool, NULL},
        {OPT_GRPC, &cli->input.grpc, NULL},
        {OPT_HTTP, &cli->input.http, NULL},
        {OPT_ADMIN, &cli->input.admin, NULL},
        {OPT_ADMIN_URL, &cli->admin_url, NULL},
        {OPT_KEYS, NULL, &cli->keys},
        {OPT_JSON, NULL, &cli->json},
        {OPT_WATCH, NULL, &cli->watch},
        {OPT_SINCE, &cli->since, NULL},
        {OPT_UNTIL, &cli->until, NULL},
        {OPT_BLOCKS, &cli->blocks, NULL},
        {OPT_SIGNAL, &cli->signal, NULL},
        {OPT_DRY_RUN, NULL, &cli->dry_run},
        {OPT_TOKEN_FILE, &cli->token_file, NULL},
        {OPT_CA_FILE, &cli->ca_file, NULL},
        {OPT_SHOW_LANES, NULL, &cli->show_lanes},
        {OPT_SHOW_DEAD_LETTERS, NULL, &cli->show_dead_letters},
        {OPT_TO, &cli->to, NULL},
        {OPT_YES, NULL, &cli->yes},
        {OPT_LANE, &cli->upstream, NULL},
        {OPT_OUTPUT, &cli->output, NULL},
        {OPT_WAIT, &cli->wait, NULL},
        {OPT_CANCEL, NULL, &cli->cancel},
        {OPT_ALL, NULL, &cli->all},
    };
    for (size_t i = 0; i < WEIR_COUNT(simple); i++) {
        if (simple[i].key != key)
            continue;
        assert(simple[i].text != NULL || simple[i].flag != NULL);
        if (simple[i].text != NULL)
            *simple[i].text = arg;
        else
            *simple[i].flag = true;
        return 0;
    }
    switch (key) {
    case OPT_UPSTREAM:
        add_repeated(state, cli->upstreams, &cli->input.upstream_count, WEIR_COUNT(cli->upstreams), arg);
        return 0;
    case OPT_SET:
        add_repeated(state, cli->sets, &cli->input.set_count, WEIR_COUNT(cli->sets), arg);
        return 0;
    case OPT_SHOW_BLOCKS:
        cli->show_blocks = true;
        cli->blocks = arg != NULL ? arg : cli->blocks;
        return 0;
    case 'h': // --help and -? are argp's own
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(state, arg);
        return 0;
    case ARGP_KEY_END:
        if (parsing->command->bit & SPOOL && cli->directory == NULL)
            argp_error(state, "which directory? %s DIR", state->name);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// Parses the options of one command. As programs do, argp ends the process after --help and after a wrong option (exit code 2).
static void parse(const struct command *command, int argc, char **argv, struct cli *cli)
{
    struct argp_option mine[WEIR_COUNT(options) + 2] = {{.key = 'h', .flags = OPTION_HIDDEN}};
    size_t count = 1;
    char doc[160];
    for (size_t i = 0; i < WEIR_COUNT(options); i++)
        if (options[i].commands & command->bit)
            mine[count++] = options[i].option;
    snprintf(doc, sizeof(doc), "weir %s: %s.", command->name, command->doc);
    const struct argp argp = {.options = mine, .parser = parse_option, .args_doc = command->args, .doc = doc};
    struct parsing parsing = {.cli = cli, .command = command};
    argp_err_exit_status = CLI_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        exit(CLI_USAGE);
}

static int help(const struct cli *cli)
{
    if (cli->topic != NULL && strcmp(cli->topic, "config") == 0) {
        config_print_help(stdout);
        return CLI_DONE;
    }
    if (cli->topic != NULL && strcmp(cli->topic, "findings") == 0) {
        cli_spool_findings_help(stdout);
        return CLI_DONE;
    }
    if (cli->topic != NULL && group_help(cli->topic, stdout))
        return CLI_DONE;
    for (size_t i = 0; i < WEIR_COUNT(commands) && cli->topic != NULL; i++) {
        char name[64], option[] = "--help", *argv[] = {name, option, NULL};
        struct cli unused = {0};
        snprintf(name, sizeof(name), "weir %s", commands[i].name);
        if (strcmp(cli->topic, commands[i].name) == 0)
            parse(&commands[i], 2, argv, &unused); // ends the process
    }
    if (cli->topic != NULL) {
        fprintf(stderr, "weir: no help on '%s': try `weir help`, `weir help config` or `weir help COMMAND`\n",
                cli->topic);
        return CLI_USAGE;
    }
    fputs("weir: a durable store-and-forward relay for OpenTelemetry.\n\nusage: weir [COMMAND] [OPTION...]\n\n",
          stdout);
    for (size_t i = 0; i < WEIR_COUNT(commands); i++)
        printf("  %-18s %s\n", commands[i].name, commands[i].doc);
    fputs("\n`weir help COMMAND` lists a command's options. The shortest start: weir run --upstream "
          "http://collector:4317\n"
          "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not finished in time, 4 the spool is held by "
          "another process.\n",
          stdout);
    return CLI_DONE;
}

static const struct command *command_find(const char *name)
{
    const char *names[WEIR_COUNT(commands)];
    for (size_t i = 0; i < WEIR_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        names[i] = commands[i].bit & SPOOL ? "spool" : commands[i].bit & DEAD_LETTERS ? "deadletter" : commands[i].name;
    }
    const char *nearest = config_nearest(name, names, WEIR_COUNT(names));
    if (nearest != NULL)
        fprintf(stderr, "weir: unknown command '%s' (did you mean '%s'?)\n", name, nearest);
    else
        fprintf(stderr, "weir: unknown command '%s': `weir help` lists all\n", name);
    return NULL;
}

// Commands of two words.
static const struct group {
    const char *word;
    int bits;
    const char *intro, *end;
} groups[] = {
    {"spool", SPOOL,
     "usage: weir spool VERB DIR [OPTION...]\n\nLooks into the directory of a spool that no process holds.\n\n",
     "Exit codes: 0 done or sound, 1 failed or damaged, 2 usage or no spool, 4 the spool is held by another "
     "process.\n"},
    {"deadletter", DEAD_LETTERS,
     "usage: weir deadletter VERB [OPTION...]\n\nWhat upstreams of a running weir refused for good.\n\n",
     "Exit codes: 0 done, 1 failed, or not for all, 2 usage.\n"},
};

static const struct group *group_find(const char *word)
{
    for (size_t i = 0; i < WEIR_COUNT(groups); i++)
        if (strcmp(groups[i].word, word) == 0)
            return &groups[i];
    return NULL;
}

static bool group_help(const char *word, FILE *out)
{
    const struct group *group = group_find(word);
    if (group == NULL)
        return false;
    fputs(group->intro, out);
    for (size_t i = 0; i < WEIR_COUNT(commands); i++)
        if (commands[i].bit & group->bits)
            fprintf(out, "  %-10s %s\n", commands[i].name + strlen(word) + 1, commands[i].doc);
    fprintf(out, "\n`weir %s VERB --help` lists a verb's options.\n%s", word, group->end);
    return true;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "-?") == 0;
}

// `weir spool VERB`: two words are the command. NULL: it was help (*code 0) or wrong.
static const struct command *group_command(const struct group *group, const char *verb, int *code)
{
    const char *names[WEIR_COUNT(commands)], *word = group->word;
    size_t n = 0;
    *code = CLI_USAGE;
    bool asked = verb != NULL && (is_help(verb) || strcmp(verb, "help") == 0);
    if (verb == NULL || asked || verb[0] == '-') { // an option is no verb
        *code = asked ? CLI_DONE : CLI_USAGE;
        group_help(word, asked ? stdout : stderr);
        return NULL;
    }
    for (size_t i = 0; i < WEIR_COUNT(commands); i++) {
        if (!(commands[i].bit & group->bits))
            continue;
        names[n] = commands[i].name + strlen(word) + 1;
        if (strcmp(names[n++], verb) == 0)
            return &commands[i];
    }
    const char *nearest = config_nearest(verb, names, n);
    if (nearest != NULL)
        fprintf(stderr, "weir: unknown command '%s %s' (did you mean '%s %s'?)\n", word, verb, word, nearest);
    else
        fprintf(stderr, "weir: unknown command '%s %s': `weir %s --help` lists all\n", word, verb, word);
    return NULL;
}

int cli_main(int argc, char **argv)
{
    const struct command *command = &commands[0];
    struct cli cli = {.admin_url = "http://127.0.0.1:9464"};
    char name[64];
    if (argc > 1 && is_help(argv[1]))
        return help(&cli);
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
        return cmd_version(&cli);
    const struct group *group = argc > 1 ? group_find(argv[1]) : NULL;
    if (group != NULL) {
        int code;
        command = group_command(group, argc > 2 ? argv[2] : NULL, &code);
        if (command == NULL)
            return code;
        argc -= 2;
        argv += 2;
    } else if (argc > 1 && argv[1][0] != '-') {
        command = command_find(argv[1]);
        if (command == NULL)
            return CLI_USAGE;
        argc--;
        argv++;
    }
    if (argc > 0) { // argp names the program by argv[0]
        snprintf(name, sizeof(name), "weir %s", command->name);
        argv[0] = name;
    }
    parse(command, argc, argv, &cli);
    cli.input.upstreams = cli.upstreams;
    cli.input.sets = cli.sets;
    return command->call(&cli);
}
