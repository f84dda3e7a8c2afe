#!/usr/bin/env bash
# Runs each test program given, prints its summary line and, of a failing one, all it said; exit 1 if any failed. A program fails by its
# exit code, by taking longer than ten minutes, or by a sanitizer's report (a leak in a forked test does not reach the exit code).
set -u
export LSAN_OPTIONS=suppressions=${0%/*}/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
for unit in "$@"; do
    started=$SECONDS
    out=$(timeout --kill-after=5 600 "$unit" -j2 --short-filename 2>&1) && code=0 || code=$?
    if [ "$code" -eq 0 ] && ! grep -qE '(Leak|Thread|Address)Sanitizer' <<<"$out"; then
        summary=$(printf '%s\n' "$out" | sed 's/\x1b\[[0-9;]*m//g' |
            grep -oE 'Tested: [0-9]+ \| Passing: [0-9]+ \| Failing: [0-9]+ \| Crashing: [0-9]+' | tail -1)
        printf '  ok     %-28s %s  %d s\n' "${unit##*/}" "$summary" $((SECONDS - started))
        passed=$((passed + 1))
    else
        printf '  FAILED %s (exit %d, %d s)\n%s\n' "${unit##*/}" "$code" $((SECONDS - started)) "$out"
        failed=$((failed + 1))
    fi
done
echo "units: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
