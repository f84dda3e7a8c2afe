#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the pinned clients once (build/interop), then runs the comparisons: the JS SDK through npm, the Collector's unmarshalers
# through Go. What is missing is named and its tests are skipped; where CI is set, a missing SDK is a failure. (Debian 12's own Go is
# too old for today's Collector: without a newer one its tests are skipped everywhere.)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
at=$root/build/interop
skip() { echo "interop: SKIPPED: $1"; }
need() {
    skip "$1"
    [ -z "${CI-}" ] || exit 1
}
mkdir -p "$at"

fetch_sdk() {
    command -v node >/dev/null || { need "node is not installed (make deps)"; return; }
    command -v npm >/dev/null || { need "npm is not installed (make deps)"; return; }
    if ! cmp -s "$root/tests/interop/package-lock.json" "$at/package-lock.json" || [ ! -d "$at/node_modules" ]; then
        cp "$root"/tests/interop/package{,-lock}.json "$at/"
        npm ci --prefix "$at" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error || {
            rm -rf "$at/package-lock.json" "$at/node_modules"
            need "npm could not fetch the SDK's packages"
            return
        }
    fi
    cp "$root/tests/interop/export.mjs" "$at/"
}
build_collector() {
    command -v go >/dev/null || { skip "go is not installed: the Collector does not read our OTLP/JSON here"; return; }
    (cd "$root/tests/interop/otlpjson" && GOTOOLCHAIN=local go build -buildvcs=false -o "$at/otlpjson" .) || {
        rm -f "$at/otlpjson"
        skip "the Collector's unmarshalers could not be built (Go 1.26 and its module proxy are needed)"
    }
}
fetch_sdk
build_collector
cd "$root"
exec /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs tests/interop
