#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# cargo for ARM64, once prepare.sh has run: cargo.sh build|test|run ARGUMENT...
#
# Builds into target/arm64/build. Tests and programs run under qemu-aarch64; QEMU_CPU is the processor. Releases are the same
# in whichever folder they are built.
. "$(dirname "$0")/common.sh"
cd "$ROOT"
. scripts/remap.sh

# Flags for the processor of this machine.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
[ ! -x "$RUSTC_OF_DEBIAN" ] || export RUSTC=$RUSTC_OF_DEBIAN
export CARGO_BUILD_TARGET=$TARGET CARGO_TARGET_DIR=$ARM64/build
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$SYSROOT ${REMAP[*]}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
export PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu=$SYSROOT
export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=$SYSROOT/usr/lib/aarch64-linux-gnu/pkgconfig:$SYSROOT/usr/share/pkgconfig
export ORT_DYLIB_PATH=$ARM64/onnxruntime/libonnxruntime.so
exec cargo "$@"
