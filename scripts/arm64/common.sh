# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash disable=SC2034
# What the scripts beside this one share: where things are, and how programs for ARM64 are run. Sourced by them.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HERE=$ROOT/scripts/arm64
ARM64=$ROOT/target/arm64
# Debian's libraries for ARM64, GStreamer among them.
SYSROOT=$ARM64/sysroot
# The compiler that prepare.sh makes where rustup has no standard library for ARM64.
RUSTC_OF_DEBIAN=$ARM64/rustc
TARGET=aarch64-unknown-linux-gnu

# qemu-aarch64 takes its options from these: where the libraries are, and the processor (qemu-aarch64 -cpu help). SVE and SME are
# emulated so slowly that ONNX Runtime, which uses them in float32, exceeds the 15 seconds that it has for a frame.
export QEMU_LD_PREFIX=$SYSROOT QEMU_CPU=${QEMU_CPU:-max,sve=off,sme=off}

say() { echo "==> $*"; }

fail() {
    echo "FAIL $*" >&2
    exit 1
}
