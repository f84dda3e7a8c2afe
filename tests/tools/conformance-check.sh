#!/usr/bin/env bash
# tests/CONFORMANCE.md has one row for each number, and each row names tests that exist or says why there is none. The number stands in
# the file of one of them, too, so that both can be found from each other.
#   usage: conformance-check.sh [TABLE]      exit 1 when anything is missing
set -euo pipefail
table=${1-tests/CONFORMANCE.md} bad=0
declare -A last=([G]=45 [P]=28 [J]=22 [E]=28 [U]=32 [Z]=10 [M]=9 [C]=7 [B]=2)

fail() { echo "conformance-check: $1" && bad=1; }

rows=$(sed -nE 's/^\| ([A-Z][0-9]+) \| .* \| ([^|]*) \|$/\1\t\2/p' "$table")
for letter in "${!last[@]}"; do
    for ((n = 1; n <= last[$letter]; n++)); do
        count=$(grep -c "^$letter$n	" <<<"$rows" || true)
        [ "$count" = 1 ] || fail "$letter$n has $count rows"
    done
done

files=$(find tests/unit tests/e2e tests/interop -path '*/node_modules' -prune -o \( -name 'test_*.c' -o -name 'test_*.py' \) -print)
tests=$(while read -r file; do
    name=${file##*/}
    sed -nE "s/^(Parameterized)?Test\\(([^,]+, *)+([A-Za-z_0-9]+)\\).*/$name::\\3/p; s/^Test\\([a-z_0-9]+, *([A-Za-z_0-9]+), .*/$name::\\1/p
             s/^def (test_[A-Za-z_0-9]+)\\(.*/$name::\\1/p" "$file"
done <<<"$files")
named=0
while IFS=$'\t' read -r number cell; do
    case $cell in
    open*) fail "$number is open" && continue ;;
    none:\ ?*) ;;
    none*) fail "$number does not say why it has no test" ;;
    *::*) ;;
    *) fail "$number names no test" ;;
    esac
    back=
    while read -r test; do
        [ -n "$test" ] || continue
        named=$((named + 1))
        grep -qxF "$test" <<<"$tests" || fail "$number names a test that there is not: $test"
        [ -n "$back" ] || ! grep -qE "(^|[^A-Za-z0-9])$number([^A-Za-z0-9]|$)" tests/*/"${test%%::*}" || back=yes
    done < <(grep -oE 'test_[a-z_0-9]+\.(c|py)::[A-Za-z_0-9]+' <<<"$cell" || true)
    [ -n "$back" ] || [[ $cell == none* ]] || fail "$number is named by no test in its row"
done <<<"$rows"
[ $bad -eq 0 ] && echo "conformance-check: $(wc -l <<<"$rows") rules, $named tests"
exit $bad
