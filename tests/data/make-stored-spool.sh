#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the stored spool of the format that the sources in this directory have: VERSION is that format's number (FORMAT_VERSION).
#   usage: make-stored-spool.sh VERSION        writes spool-vVERSION.tar.zst and spool-vVERSION.json here, unless they exist
# A stored spool is made once and stays as it is: every later version must read it. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
to=$here/spool-v${1:?which format version?}
[ ! -e "$to.tar.zst" ] || { echo "$to.tar.zst is there: a stored spool is never made again"; exit 1; }
make -s -C "$here/../.." build/tests/data/make_stored_spool
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-stored-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$here/../../build/tests/data/make_stored_spool" "$work/spool" >"$work/expected.json"
tar --sparse --sort=name --owner=0 --group=0 --numeric-owner -C "$work" -cf "$work/spool.tar" spool
zstd -19 -q "$work/spool.tar" -o "$to.tar.zst"
cp "$work/expected.json" "$to.json"
ls -l "$to".*
