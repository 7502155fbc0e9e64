#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Fetches what building for ARM64 and running that here takes: prepare.sh ONNXRUNTIME_VERSION
#
# Debian's cross compiler and qemu-user are installed; all else goes into target/arm64: Debian's GStreamer for ARM64, ONNX Runtime
# for ARM64, and, where rustup cannot be asked for it, a Rust compiler with the standard library for ARM64.
. "$(dirname "$0")/common.sh"

[ "$(uname -m)" = x86_64 ] || fail "this is for x86-64 machines. On ARM64 itself, make test does it all"
"$ROOT/scripts/install-packages.sh" gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user

# Of the good plugins wavparse alone is used, so what the others depend on can stay away.
"$HERE/debian.sh" "$SYSROOT" arm64 -- libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
    libgstreamer-plugins-bad1.0-dev gstreamer1.0-tools gstreamer1.0-plugins-base --alone gstreamer1.0-plugins-good
# qemu-user shows programs the /proc/cpuinfo of this machine, and ONNX Runtime crashes on one that is not ARM's. A file below
# QEMU_LD_PREFIX goes before it. It names a Cortex-A72, of which nothing more is assumed than what qemu tells by the auxiliary
# vector: see QEMU_CPU.
mkdir -p "$SYSROOT/proc"
for ((core = 0; core < $(nproc); core++)); do
    printf 'processor\t: %s\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\n' "$core"
    printf 'CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 1\n\n'
done >"$SYSROOT/proc/cpuinfo"

"$ROOT/scripts/fetch-onnxruntime.sh" "$ARM64/onnxruntime" "$1" onnxruntime manylinux_2_28_aarch64

has_standard_library() { compgen -G "$("$@" --print target-libdir --target "$TARGET")/libstd-*.rlib" >/dev/null; }

cd "$ROOT"
if has_standard_library rustc; then
    rm -f "$RUSTC_OF_DEBIAN"
elif command -v rustup >/dev/null && say "asking rustup for $TARGET" && timeout 300 rustup target add "$TARGET"; then
    rm -f "$RUSTC_OF_DEBIAN"
else
    # A standard library fits the compiler that it was built with, so both are Debian's. Installed, they would take the place of
    # the system's own.
    say "taking Debian's Rust compiler instead"
    "$HERE/debian.sh" "$ARM64/rust" amd64 arm64 -- rustc-web "libstd-rust-web-dev:arm64"
    # With the libraries that came with it, and those for itself alone: the linkers that it calls are the system's.
    cat >"$RUSTC_OF_DEBIAN" <<END
#!/bin/sh
rust=\$(dirname "\$0")/rust
libraries=lib/x86_64-linux-gnu
exec "\$rust/\$libraries/ld-linux-x86-64.so.2" --library-path "\$rust/\$libraries:\$rust/usr/\$libraries" "\$rust/usr/bin/rustc" "\$@"
END
    chmod +x "$RUSTC_OF_DEBIAN"
    has_standard_library "$RUSTC_OF_DEBIAN" || fail "$RUSTC_OF_DEBIAN has no standard library for $TARGET"
fi
