#!/usr/bin/env bash
# Every configuration key, metric, command and flag that weir has stands in README.md, and README.md names no key and no metric
# that it has not. Keys, commands and flags are what the binary says; metrics are the rows of relay/metrics*.c.
# The same for the findings of `weir spool verify`, each with its whole row.
#   usage: readme-check.sh BUILD_DIR             exit 1 when anything is missing
#          readme-check.sh BUILD_DIR --tables    prints the tables of keys and metrics that README.md may have
set -euo pipefail
b=$1 readme=README.md bad=0

keys() { "$b/weir" print-config --keys; } # key<TAB>type<TAB>default<TAB>help
commands() { "$b/weir" help | sed -nE 's/^  ([a-z-]+( [a-z]+)?)  .*/\1/p'; }
findings() { # number<TAB>severity<TAB>text<TAB>what to do
    "$b/weir" help findings | sed -nE 'N;s/^(W[0-9]+)  ([a-z]+) *  (.*)\n *-> (.*)/\1\t\2\t\3\t\4/p'
}
flags() {
    local command
    while read -r command; do
        # shellcheck disable=SC2086  # two words are a command and its verb
        "$b/weir" $command --help
    done < <(commands) | grep -oE -- '(^|[ ,])--[a-z][a-z-]+' |
        grep -oE -- '--[a-z-]+' | grep -vxE -- '--(help|usage|version)' | sort -u
}
metrics() { # name<TAB>labels<TAB>help, counters with their _total
    sed -nE 's/^ *\{"((weir|process)_[a-z0-9_]+)", ([A-Z_]+), "[^"]*", ("[^"]*"|[A-Z]+), "([^"]*)".*/\1\t\3\t\4\t\5/p' relay/metrics*.c |
        awk -F'\t' -v OFS='\t' -v macros="$(grep -hoE '^#define [A-Z]+ +"[^"]*"' relay/metrics*.c)" '
            BEGIN { n = split(macros, line, "\n"); for (i = 1; i <= n; i++) { split(line[i], w, /[ "]+/); sub(/^[^"]*"/, "", line[i])
                    sub(/".*/, "", line[i]); labels[w[2]] = line[i] } }
            { gsub(/"/, "", $3); print $1 ($2 ~ /^(C|METRIC_COUNTER)$/ ? "_total" : ""), ($3 in labels ? labels[$3] : $3), $4 }'
}

if [ "${2-}" = --tables ]; then
    printf '| key | type | default | meaning |\n|---|---|---|---|\n'
    keys | awk -F'\t' '{ print "| `" $1 "` | " $2 " | " ($3 == "" ? "" : "`" $3 "`") " | " $4 " |" }'
    printf '\n| metric | labels | meaning |\n|---|---|---|\n'
    metrics | awk -F'\t' '{ print "| `" $1 "` | " $2 " | " $3 " |" }'
    printf '\n| finding | | means | do |\n|---|---|---|---|\n'
    findings | awk -F'\t' '{ print "| " $1 " | " $2 " | " $3 " | " $4 " |" }'
    exit 0
fi

[ -s "$readme" ] || { echo "readme-check: there is no $readme"; exit 1; }
wanted() { # kind; the names on stdin
    local kind=$1 name count=0
    while read -r name; do
        count=$((count + 1))
        grep -qwF -e "$name" "$readme" || { echo "readme-check: $readme does not name the $kind $name"; bad=1; }
    done
    [ $count -gt 0 ] || { echo "readme-check: weir names no $kind at all: this check is broken"; bad=1; }
    printf '  %-8s %d\n' "$kind" "$count"
}
stale() { # kind, pattern of what README.md says, the names there are on stdin
    local kind=$1 pattern=$2 name known
    known=$(cat)
    while read -r name; do
        grep -qxF -e "$name" <<<"$known" || { echo "readme-check: $readme names a $kind that there is not: $name"; bad=1; }
    done < <(grep -oE -e "$pattern" "$readme" | sort -u)
}
wanted key < <(keys | cut -f1)
wanted metric < <(metrics | cut -f1)
wanted command < <(commands | sed 's/^/weir /')
wanted flag < <(flags)
wanted finding < <(findings | awk -F'\t' '{ print "| " $1 " | " $2 " | " $3 " | " $4 " |" }')
# What begins like a key and stands in backticks must be one, whole; a metric may have a histogram's ending.
sections=$(keys | grep -oE '^[a-z_]+' | sort -u | paste -sd'|')
# shellcheck disable=SC2016  # the backticks are README.md's
stale key '`'"($sections)"'(\[\])?\.[a-z_.0-9]+`' < <(keys | sed 's/\t.*//;s/.*/`&`/')
stale finding '^\| W[0-9]+' < <(findings | sed 's/^/| /;s/\t.*//')
stale metric '\b(weir|process)_[a-z0-9_]*[a-z0-9]' < <(metrics | cut -f1 | sed 'p;s/$/_bucket/;p;s/_bucket$/_sum/;p;s/_sum$/_count/')
[ $bad -eq 0 ] && echo "readme-check: README.md names them all"
exit $bad
