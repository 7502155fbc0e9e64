#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Makes Debian packages for ARM64, in target/packages-arm64: deb.sh
#
# Needs what prepare.sh fetches, and target/venv-parts.
. "$(dirname "$0")/common.sh"
BUILT=$ARM64/build/$TARGET/release

say "building the plugin and the tool for ARM64 (some minutes the first time)"
"$HERE/cargo.sh" build --release --locked --workspace
qemu-aarch64 "$BUILT/lipsync" share "$BUILT/share"
ARCH=arm64 "$ROOT/scripts/deb/build.sh" deb
