#!/usr/bin/env bash
# Installs the Debian packages that weir's build and tests need and that are missing, and says which.
#   usage: deps.sh          for the build and all checks
#          deps.sh build    for `make build/weir` alone (the container image)
set -euo pipefail
build=(build-essential pkg-config git protobuf-c-compiler protobuf-compiler liblmdb-dev libh2o-evloop-dev libnghttp2-dev
    libcurl4-openssl-dev libprotobuf-c-dev libzstd-dev zlib1g-dev libsnappy-dev liblz4-dev libyaml-dev libjansson-dev libxxhash-dev libssl-dev
    ca-certificates)
check=(libcriterion-dev clang clang-format clang-tidy libclang-rt-14-dev shellcheck yamllint universal-ctags jq openssl
    python3 python3-venv python3-pip python3-pytest python3-pytest-xdist python3-yaml zstd strace)
missing=()
[ "${1-}" = build ] && check=()
for package in "${build[@]}" "${check[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
# Node is needed by the SDK tests alone; any node >= 18 will do, Debian's or another.
if [ "${1-}" != build ]; then
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
fi
if [ ${#missing[@]} -eq 0 ]; then
    echo "deps: all Debian packages are installed"
    exit 0
fi
echo "deps: installing ${missing[*]}"
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "deps: done"
