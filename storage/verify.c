// SPDX-License-Identifier: Apache-2.0
// The table of findings, how they are reported, and what the directory alone tells.
#include <stdarg.h>

#include "storage/verify_priv.h"

// README.md has this table too: tests/tools/readme-check.sh compares them.
static const struct verify_rule rules[] = {
    {"W101", VERIFY_NOTE, "a file that was being made when the process ended",
     "nothing: nothing in it was ever acknowledged, the relay removes it when it starts"},
    {"W102", VERIFY_NOTE, "a file that is not the spool's",
     "move it elsewhere: it takes room that the spool counts as used"},
    {"W103", VERIFY_NOTE, "a file that was set aside as damaged",
     "weir spool salvage saves what is whole in it; remove it when it is no longer wanted"},
    {"W104", VERIFY_DAMAGE, "a file cannot be read",
     "look at the disk (dmesg) and at the file's owner and mode; copy the spool to another disk"},
    {"W105", VERIFY_DAMAGE, "a file was written by a newer weir", "use that weir; this one leaves the spool alone"},
    {"W106", VERIFY_NOTE, "there is no LOCK",
     "nothing, for a copy: make sure that no relay uses the spool it was copied from meanwhile"},
    {"W201", VERIFY_DAMAGE, "nothing in a segment can be read",
     "its blocks are lost: weir spool salvage, or start the relay, which sets it aside and enters the loss"},
    {"W202", VERIFY_DAMAGE, "a segment's file is damaged",
     "weir spool salvage, or start the relay: both go on with every block that is whole"},
    {"W203", VERIFY_DAMAGE, "blocks are damaged",
     "they are lost: the relay enters them as evicted when their turn comes"},
    {"W204", VERIFY_DAMAGE, "blocks that a lane needs are missing",
     "they are lost, unless a copy has the file: the relay enters them as evicted"},
    {"W205", VERIFY_NOTE, "blocks that no lane needs are missing",
     "nothing: they were delivered, or their loss is in the ledger"},
    {"W206", VERIFY_DAMAGE, "counts of blocks do not follow from each other",
     "the ledger may be wrong by the difference: report it"},
    {"W207", VERIFY_NOTE, "blocks of a commit that failed", "nothing: they were done again in the next segment"},
    {"W208", VERIFY_DAMAGE, "a block's table of requests does not add up", "the block cannot be delivered: report it"},
    {"W301", VERIFY_DAMAGE, "there is no state.mdb beside the segments",
     "put it back from a copy; without it the relay delivers everything to everyone from the oldest block on"},
    {"W302", VERIFY_DAMAGE, "state.mdb is damaged",
     "put it back from a copy; without it the relay delivers everything to everyone from the oldest block on"},
    {"W303", VERIFY_DAMAGE, "a lane's ledger does not add up", "report it: the data itself is not affected"},
    {"W304", VERIFY_DAMAGE, "a lane's interval does not agree with the counts of the blocks",
     "its pending items are counted wrong: report it"},
    {"W305", VERIFY_DAMAGE, "a lane's interval names blocks that there never were", "report it"},
    {"W306", VERIFY_DAMAGE, "the state's counts do not agree with those of the blocks",
     "the ledger may be wrong by the difference: report it"},
    {"W307", VERIFY_DAMAGE, "a note in state.mdb is damaged",
     "the relay forgets it when it starts: look whether an upstream was paused, or weir was draining, and say it "
     "again"},
    {"W401", VERIFY_DAMAGE, "deadletter.mdb is damaged",
     "weir spool salvage saves the letters that are whole; the relay sets the file aside"},
    {"W402", VERIFY_DAMAGE, "a dead letter is damaged", "it is lost; weir spool salvage leaves it out"},
    {"W403", VERIFY_DAMAGE, "the totals of the dead letters are wrong", "weir spool salvage counts them anew"},
    {"W404", VERIFY_DAMAGE, "a lane's ledger and its dead letters do not agree",
     "the relay makes them agree at its next start: what is missing becomes evicted, what is there besides is accepted "
     "again"},
};

size_t verify_rules(const struct verify_rule **out)
{
    *out = rules;
    return WEIR_COUNT(rules);
}

static const struct verify_rule *rule_of(const char *number)
{
    size_t i = 0;
    while (i < WEIR_COUNT(rules) && strcmp(rules[i].number, number) != 0)
        i++;
    assert(i < WEIR_COUNT(rules));
    return &rules[i];
}

static bool lane_touched(const struct lane_record *lane, const struct verify_finding *f)
{
    return (!f->items_known || f->items[lane->signal] > 0) && inspect_lane_needs(lane, f->first, f->end);
}

bool verify_needed(const struct verify *v, const struct verify_finding *finding)
{
    for (size_t i = 0; i < v->inspect->lanes_n; i++)
        if (lane_touched(&v->inspect->lanes[i], finding))
            return true;
    return false;
}

void verify_report(struct verify *v, const char *number, struct verify_finding finding, size_t lane, const char *detail,
                   ...)
{
    char text[512];
    va_list ap;
    va_start(ap, detail);
    vsnprintf(text, sizeof(text), detail, ap);
    va_end(ap);
    finding.rule = rule_of(number);
    finding.file = finding.file != NULL ? finding.file : "";
    finding.detail = text;
    finding.lanes = v->lanes;
    if (lane != SIZE_MAX)
        v->lanes[finding.lanes_n++] = lane;
    for (size_t i = 0; lane == SIZE_MAX && finding.first < finding.end && i < v->inspect->lanes_n; i++)
        if (lane_touched(&v->inspect->lanes[i], &finding))
            v->lanes[finding.lanes_n++] = i;
    if (finding.rule->severity == VERIFY_DAMAGE)
        v->result->damage++;
    else
        v->result->notes++;
    v->options->on_finding(v->options->ctx, &finding);
}

void verify_progress(struct verify *v, uint64_t bytes)
{
    v->done_bytes += bytes;
    if (v->options->on_progress != NULL)
        v->options->on_progress(v->options->ctx, v->done_bytes < v->total_bytes ? v->done_bytes : v->total_bytes,
                                v->total_bytes);
}

static void verify_directory(struct verify *v)
{
    static const char *const numbers[INSPECT_KINDS] = {
        [INSPECT_TEMPORARY] = "W101", [INSPECT_OTHER] = "W102"}; // those set aside: when their blocks are known
    const struct inspect_file *files;
    size_t n = inspect_files(v->inspect, &files);
    for (size_t i = 0; i < n; i++) {
        const char *number = numbers[files[i].kind];
        if (number != NULL && strcmp(files[i].name, "lost+found") != 0)
            verify_report(v, number, (struct verify_finding){.file = files[i].name}, SIZE_MAX, "%llu bytes on disk",
                          (unsigned long long)files[i].disk_bytes);
    }
    if (inspect_file_of(v->inspect, INSPECT_LOCK) == NULL)
        verify_report(v, "W106", (struct verify_finding){0}, SIZE_MAX, "%s", "");
}

int verify_run(struct inspect *inspect, const struct verify_options *options, struct verify_result *out,
               struct weir_err *err)
{
    struct verify v = {.inspect = inspect, .options = options, .result = out};
    const struct inspect_file *files;
    size_t n = inspect_files(inspect, &files);
    *out = (struct verify_result){0};
    for (size_t i = 0; i < n; i++)
        if (files[i].is_segment || files[i].kind == INSPECT_STATE || files[i].kind == INSPECT_DEAD_LETTERS)
            v.total_bytes += files[i].bytes;
    verify_directory(&v);
    int code = verify_blocks(&v, err);
    if (code == WEIR_OK)
        code = verify_state(&v, err);
    if (code == WEIR_OK)
        code = verify_letters(&v, err);
    out->bytes = v.total_bytes;
    return code;
}
