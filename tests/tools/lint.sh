#!/usr/bin/env bash
# Format, clang-tidy, shellcheck, yamllint, syntax of scripts; then a list of what is past our sizes, which does not fail.
#   usage: TIDY_FLAGS='compiler flags' lint.sh BUILD_DIR          called by `make lint`, which has made the generated headers
# A file that clang-tidy found clean is not read again until it, a header, the flags or .clang-tidy change (build/lint/).
set -euo pipefail
b=$1 bad=0
mkdir -p "$b/lint"

sources() { # files of ours whose names match the patterns
    local args=() pattern
    for pattern in "$@"; do args+=(-o -name "$pattern"); done
    find . \( -path ./build -o -path ./.git -o -path ./tests/fuzz/corpus -o -name node_modules -o -name __pycache__ \) -prune -o -type f \( "${args[@]:1}" \) -print |
        sed 's,^\./,,' | sort
}
report() { # step, how many, the log of a failed one or nothing
    if [ -s "${3-}" ]; then
        printf '  %-12s FAILED (%s)\n' "$1" "$2" && cat "$3" && bad=1
    else
        printf '  %-12s ok (%s)\n' "$1" "$2"
    fi
}
absent() { printf '  %-12s not checked: %s is not installed\n' "$1" "$1"; }

mapfile -t c_files < <(sources '*.c')
mapfile -t h_files < <(sources '*.h')

lint_format() {
    clang-format --dry-run -Werror "${c_files[@]}" "${h_files[@]}" 2>&1 |
        awk -F: '/: error: /{n[$1]++} END{for (f in n) print f ": " n[f] " places (make format)"}' >"$b/lint/format.log" || true
    report clang-format "$((${#c_files[@]} + ${#h_files[@]})) files" "$b/lint/format.log"
}

# Functions that share hidden state between threads, cannot report an error, or know no bound; and what to take instead.
lint_banned() {
    local banned='strtok|localtime|gmtime|asctime|ctime|rand|srand|readdir_r|tmpnam|mktemp|sprintf|vsprintf|strcpy|strcat|gets|atoi|atol|atoll|atof|alloca|usleep'
    grep -nE "(^|[^a-zA-Z0-9_.>\"])($banned)[(]" "${c_files[@]}" "${h_files[@]}" | grep -vE '^(tests/(unit|bench)/|[^:]+:[0-9]+: *(//|\*))' >"$b/lint/banned.log" || true
    report banned "functions with a safer sister" "$b/lint/banned.log"
}

# One .c file: clean ones leave a stamp named after all that clang-tidy's answer depends on.
# shellcheck disable=SC2317  # called through xargs
tidy_one() {
    local file=$1 key out
    local -a flags
    eval "flags=($TIDY_FLAGS)"
    key=$({ echo "$COMMON_KEY"; cat "$file"; } | sha256sum | cut -c1-32)
    [ ! -e "$LINT_DIR/$key" ] || return 0
    if out=$(clang-tidy --quiet "$file" -- "${flags[@]}" -include tests/tools/tidy.h 2>&1); then
        touch "$LINT_DIR/$key"
    else
        grep -E ': (error|warning): ' <<<"$out" || printf '%s: %s\n' "$file" "$out"
    fi
}
lint_tidy() {
    LINT_DIR=$b/lint
    COMMON_KEY=$({ echo "$TIDY_FLAGS"; cat .clang-tidy tests/.clang-tidy "${h_files[@]}"; } | sha256sum)
    export LINT_DIR COMMON_KEY TIDY_FLAGS
    export -f tidy_one
    # shellcheck disable=SC2016  # expanded by the inner bash
    printf '%s\0' "${c_files[@]}" | xargs -0 -n1 -P"$(nproc)" bash -c 'tidy_one "$1"' _ >"$b/lint/tidy.log" 2>&1 || true
    sort -u -o "$b/lint/tidy.log" "$b/lint/tidy.log" # a header's finding comes once for each file that includes it
    report clang-tidy "${#c_files[@]} files" "$b/lint/tidy.log"
    find "$b/lint" -type f -mtime +30 -delete
}

lint_shell() {
    local -a scripts
    mapfile -t scripts < <(sources '*' | while read -r file; do
        head -c 64 "$file" | head -n1 | grep -qaE '^#!.*[/ ](ba)?sh( |$)' && echo "$file"
    done || true)
    shellcheck -x "${scripts[@]}" >"$b/lint/shell.log" 2>&1 || true
    report shellcheck "${#scripts[@]} files" "$b/lint/shell.log"
}
lint_yaml() {
    local -a files
    mapfile -t files < <(sources '*.yaml' '*.yml')
    yamllint -f parsable -s "${files[@]}" >"$b/lint/yaml.log" 2>&1 || true
    report yamllint "${#files[@]} files" "$b/lint/yaml.log"
}
lint_syntax() { # of languages without a linter here: it must at least be one
    local -a files
    mapfile -t files < <(sources '*.py')
    PYTHONPYCACHEPREFIX=$b/lint/pycache python3 -m py_compile "${files[@]}" >"$b/lint/python.log" 2>&1 || true
    report python "${#files[@]} files, syntax" "$b/lint/python.log"
    command -v node >/dev/null || { absent node; return; }
    mapfile -t files < <(sources '*.js' '*.mjs' '*.cjs')
    for file in "${files[@]}"; do node --check "$file"; done >"$b/lint/js.log" 2>&1 || true
    report javascript "${#files[@]} files, syntax" "$b/lint/js.log"
}

list_sizes() { # advice, not an error: past these numbers a table or a split usually reads better
    wc -l "${c_files[@]}" | awk '$2 != "total" && $1 > 450 {printf "  size         %s: %d lines (.c: 450)\n", $2, $1}'
    wc -l "${h_files[@]}" | awk '$2 != "total" && $1 > 120 {printf "  size         %s: %d lines (.h: 120)\n", $2, $1}'
    wc -l Makefile | awk '$1 > 200 {printf "  size         Makefile: %d lines (200)\n", $1}'
    command -v ctags >/dev/null || { absent ctags; return; }
    ctags -o - --languages=C --c-kinds=f --fields=ne --excmd=number "${c_files[@]}" 2>/dev/null | grep -v '^!' |
        sed -nE 's/^([^\t]+)\t([^\t]+)\t.*line:([0-9]+).*end:([0-9]+).*/\1 \2 \3 \4/p' |
        awk '$4 - $3 + 1 > 70 {printf "  size         %s:%d: %s: %d lines (function: 70)\n", $2, $3, $1, $4 - $3 + 1}'
}

for tool in clang-format clang-tidy shellcheck yamllint python3; do
    command -v $tool >/dev/null || { echo "lint: $tool is missing: make deps"; exit 1; }
done
lint_format
lint_banned
lint_shell
lint_yaml
lint_syntax
lint_tidy
list_sizes
[ $bad -eq 0 ] && echo 'lint: nothing found' || echo 'lint: FAILED'
exit $bad
