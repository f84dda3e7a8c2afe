#!/usr/bin/env bash
# Proves the rule relay -> {net, storage, proto} and nothing across, by the symbols of the archives.
#   usage: layers.sh BUILD_DIR
set -euo pipefail
b=$1 bad=0
undefined() { nm --undefined-only "$b/lib$1.a" 2>/dev/null | awk '/ U /{print $2}' | sort -u; }
defined() { nm --defined-only --extern-only "$b/lib$1.a" 2>/dev/null | awk 'NF==3{print $3}' | sort -u; }
forbid() { # library, pattern, why
    local found
    found=$(undefined "$1" | grep -E "$2" || true)
    [ -z "$found" ] || { echo "layers: lib$1 uses $3: $(tr '\n' ' ' <<<"$found")"; bad=1; }
}
across() { # library must not need anything its sibling (or relay) defines
    local found
    found=$(comm -12 <(undefined "$1") <(comm -23 <(defined "$2") <(defined "$1")))
    [ -z "$found" ] || { echo "layers: lib$1 reaches into lib$2: $(tr '\n' ' ' <<<"$found")"; bad=1; }
}
for lib in storage proto; do forbid $lib '^(h2o_|nghttp2_|curl_)' 'the network libraries'; done
for lib in net proto relay; do forbid $lib '^mdb_' 'LMDB'; done
for lib in storage net; do forbid $lib '(protobuf_c_|__unpack$)' 'protobuf-c'; done
for lib in storage net proto; do
    for other in storage net proto relay; do
        [ "$lib" = "$other" ] || across $lib $other
    done
    # A library returns errors: it never ends the process, and never prints.
    forbid $lib '^(exit|_exit|syslog|printf|puts|perror)$' 'process-wide output or exit'
done
for lib in storage net proto; do
    found=$(grep -nE '#include "(relay|storage|net|proto)/' "$lib"/*.[ch] | grep -vE "#include \"($lib/|proto/(base|err)\.h\")" || true)
    [ -z "$found" ] || { printf 'layers: include across:\n%s\n' "$found"; bad=1; }
done
[ $bad -eq 0 ] && echo "layers: relay -> {net, storage, proto}, and nothing across"
exit $bad
