#!/usr/bin/env bash
# Runs each Criterion program given, prints its summary line and, of a failing one, all it said; exit 1 if any failed.
set -u
export LSAN_OPTIONS=suppressions=${0%/*}/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
for unit in "$@"; do
    if out=$("$unit" -j2 --short-filename --full-stats 2>&1); then
        summary=$(printf '%s\n' "$out" | sed 's/\x1b\[[0-9;]*m//g' |
            grep -oE 'Tested: [0-9]+ \| Passing: [0-9]+ \| Failing: [0-9]+ \| Crashing: [0-9]+' | tail -1)
        printf '  ok     %-28s %s\n' "${unit##*/}" "$summary"
        passed=$((passed + 1))
    else
        printf '  FAILED %s\n%s\n' "${unit##*/}" "$out"
        failed=$((failed + 1))
    fi
done
echo "units: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
