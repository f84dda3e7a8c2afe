#!/usr/bin/env bash
# Fetches the pinned SDK once (build/interop), then runs the comparison. Without node, npm or the packages it says so and is skipped,
# unless CI is set: there a missing client is a failure.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
at=$root/build/interop
skip() {
    echo "interop: SKIPPED: $1"
    [ -z "${CI-}" ] || exit 1
    exit 0
}
command -v node >/dev/null || skip "node is not installed (make deps)"
command -v npm >/dev/null || skip "npm is not installed (make deps)"
mkdir -p "$at"
if ! cmp -s "$root/tests/interop/package-lock.json" "$at/package-lock.json" || [ ! -d "$at/node_modules" ]; then
    cp "$root"/tests/interop/package{,-lock}.json "$at/"
    npm ci --prefix "$at" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error || {
        rm -f "$at/package-lock.json"
        skip "npm could not fetch the SDK's packages"
    }
fi
cp "$root/tests/interop/export.mjs" "$at/"
cd "$root"
exec /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs tests/interop
