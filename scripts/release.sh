#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# cargo for releases, whose programs do not name the folders they were built in: release.sh build|test|run ARGUMENT...
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/remap.sh
# Flags of one's own stay, as cargo has them: words, or encoded, which goes before them.
if [ -n "${CARGO_ENCODED_RUSTFLAGS:-}" ]; then
    flags=$CARGO_ENCODED_RUSTFLAGS
else
    # shellcheck disable=SC2206 # a list of words
    words=(${RUSTFLAGS:-})
    flags=$(IFS=$'\x1f' && echo "${words[*]}")
fi
flags+=$(printf '\x1f%s' "${REMAP[@]}")
export CARGO_ENCODED_RUSTFLAGS=${flags#$'\x1f'}
exec cargo "$1" --release --locked "${@:2}"
