#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches and builds the pinned peers once (build/interop, build/venv), then runs the comparisons. What is missing is named and its
# tests are skipped; where CI is set, what `make deps` installs must be there and all that is there must build.
#   usage: run.sh [fetch]      fetch: stop before the comparisons
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/interop
at=$root/build/interop
builder=v0.162.0 # the version of everything in collector/builder.yaml
mkdir -p "$at"
rm -f "$at"/*.ready
export GOTOOLCHAIN=local GOFLAGS='-trimpath -buildvcs=false' GOMAXPROCS=2 CGO_ENABLED=0

skip() { echo "interop: SKIPPED: $1"; }
need() {
    skip "$1"
    [ -z "${CI-}" ] || exit 1
}
# Whether $1 was made of the same files as now; made: notes that it was.
sum() { cat "$@" <(go version 2>/dev/null || true) | sha256sum; }
fresh() {
    local mark=$at/$1.made
    shift
    [ -f "$mark" ] && [ "$(sum "$@")" = "$(cat "$mark")" ]
}
made() {
    local mark=$at/$1.made
    shift
    sum "$@" >"$mark"
}
ready() {
    touch "$at/$1.ready"
    echo "interop: $1: $2 (${SECONDS} s)"
}

fetch_js() {
    command -v node >/dev/null || { need "JS SDK: node is not installed (make deps)"; return; }
    command -v npm >/dev/null || { need "JS SDK: npm is not installed (make deps)"; return; }
    if ! cmp -s "$here/package-lock.json" "$at/package-lock.json" || [ ! -d "$at/node_modules" ]; then
        cp "$here"/package{,-lock}.json "$at/"
        npm ci --prefix "$at" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error || {
            rm -rf "$at/package-lock.json" "$at/node_modules"
            need "JS SDK: npm could not fetch its packages"
            return
        }
    fi
    cp "$here/sdk.mjs" "$at/"
    ready js "OpenTelemetry JS $(jq -r '.dependencies["@opentelemetry/exporter-trace-otlp-grpc"]' "$here/package.json"), node $(node --version)"
}
fetch_python() {
    local venv=$root/build/venv
    if ! cmp -s "$here/requirements.txt" "$at/requirements.txt" || [ ! -x "$venv/bin/python" ]; then
        [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || { need "Python SDK: no venv (make deps)"; return; }
        "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt" || {
            need "Python SDK: pip could not fetch its packages"
            return
        }
        cp "$here/requirements.txt" "$at/"
    fi
    ready python "OpenTelemetry Python $(sed -n 's/opentelemetry-sdk==//p' "$here/requirements.txt"), $("$venv/bin/python" --version)"
}

# A Go program: go_program NAME DIRECTORY OUTPUT VERSION [go build's arguments…]. Modules that cannot be fetched skip it.
go_program() {
    local name=$1 from=$here/$2 output=$at/$3 version=$4
    shift 4
    local files=("$from"/go.mod "$from"/go.sum)
    [ ! -f "$from/main.go" ] || files+=("$from/main.go")
    if ! fresh "$name" "${files[@]}" || [ ! -x "$output" ]; then
        (cd "$from" && go list -deps "$@" >/dev/null) || { skip "$name: its Go modules could not be fetched"; return; }
        (cd "$from" && nice go build -ldflags='-s -w' -o "$output" "$@") || { need "$name: it does not build"; return; }
        made "$name" "${files[@]}"
    fi
    ready "$name" "$version"
}
# The builder writes the Collector's main program; its modules are pinned by our go.mod and go.sum.
build_collector() {
    local from=$here/collector to=$at/collector
    local files=("$from"/{builder.yaml,go.mod,go.sum})
    if ! fresh collector "${files[@]}" || [ ! -x "$to/otelcol" ]; then
        mkdir -p "$to"
        cp "$from"/go.{mod,sum} "$to/"
        GOBIN=$at nice go install "go.opentelemetry.io/collector/cmd/builder@$builder" || { skip "Collector: its builder could not be fetched"; return; }
        (cd "$from" && "$at/builder" --config builder.yaml --skip-get-modules --skip-compilation) || { need "Collector: the builder fails"; return; }
        (cd "$to" && go list -deps . >/dev/null) || { skip "Collector: its Go modules could not be fetched"; return; }
        (cd "$from" && nice "$at/builder" --config builder.yaml --skip-get-modules) || { need "Collector: it does not build"; return; }
        made collector "${files[@]}"
    fi
    ready collector "$("$to/otelcol" --version)"
}
fetch_rust() {
    local from=$here/sdk-rust files
    files=("$from"/Cargo.{toml,lock} "$from"/src/main.rs)
    command -v cargo >/dev/null || { skip "Rust SDK: cargo is not installed (Debian 12's is too old: 1.85 is needed)"; return; }
    if ! fresh rust "${files[@]}" || [ ! -x "$at/sdk-rust" ]; then
        (cd "$from" && cargo fetch -q --locked) || { skip "Rust SDK: its crates could not be fetched"; return; }
        (cd "$from" && nice cargo build -q --locked --offline --target-dir "$at/rust") || { need "Rust SDK: it does not build"; return; }
        cp "$at/rust/debug/sdk-rust" "$at/"
        made rust "${files[@]}"
    fi
    ready rust "OpenTelemetry Rust $(sed -n 's/^opentelemetry = "=\(.*\)"/\1/p' "$from/Cargo.toml"), $(cargo --version)"
}
go_peers() {
    local version
    command -v go >/dev/null || { skip "Go SDK, Collector, Prometheus: go is not installed (Debian 12's is too old: 1.26 is needed)"; return; }
    version=$(go env GOVERSION)
    if ! [[ $version =~ ^go1\.([0-9]+) ]] || [ "${BASH_REMATCH[1]}" -lt 26 ]; then
        skip "Go SDK, Collector, Prometheus: $version is too old, 1.26 is needed"
        return
    fi
    local mod=$here/sdk-go/go.mod
    go_program otlpjson otlpjson otlpjson "the Collector's unmarshalers, pdata $(sed -n 's,.*collector/pdata v,v,p' "$here/otlpjson/go.mod")" .
    go_program go sdk-go sdk-go "OpenTelemetry Go $(sed -n 's,.*otel/sdk v,v,p' "$mod"), $version" .
    build_collector
    go_program prometheus prometheus prometheus "$(sed -n 's,.*prometheus/prometheus v0\.\([0-9.]*\).*,Prometheus module v0.\1,p' "$here/prometheus/go.mod")" \
        -tags remove_all_sd github.com/prometheus/prometheus/cmd/prometheus
    go_program promtool prometheus promtool "Prometheus' own check of metrics (e2e/test_admin.py)" \
        -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool
}

fetch_js
fetch_python
fetch_rust
go_peers
[ "${1-}" != fetch ] || exit 0
cd "$root"
exec /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs --durations=6 tests/interop
