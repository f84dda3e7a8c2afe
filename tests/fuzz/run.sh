#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs each fuzz target for a while, from its corpus in tests/fuzz/corpus plus what earlier runs found (kept in BUILD_DIR).
# What makes one fail is left in BUILD_DIR/crashes, to become a corpus file with its fix.
#   usage: run.sh BUILD_DIR SECONDS TARGET...
set -u
build=$1 seconds=$2
shift 2
here=$(dirname "$0")
failed=0
mkdir -p "$build/crashes"
for target in "$@"; do
    name=${target##*/}
    mkdir -p "$build/corpus/$name"
    seeds=()
    [ ! -d "$here/corpus/$name" ] || seeds=("$here/corpus/$name")
    if LSAN_OPTIONS="suppressions=$here/../tools/lsan.supp:print_suppressions=0" "$target" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 -artifact_prefix="$build/crashes/$name-" \
        "$build/corpus/$name" "${seeds[@]}" >"$build/$name.log" 2>&1; then
        printf '  ok     %-16s %s runs\n' "$name" "$(sed -n 's/stat::number_of_executed_units: //p' "$build/$name.log")"
    else
        printf '  FAILED %s\n' "$name"
        tail -40 "$build/$name.log"
        failed=1
    fi
done
exit $failed
