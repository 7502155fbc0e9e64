#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Makes packages of what cargo has built: build.sh deb|tarball
#
# Debian packages and a tarball that works wherever it is unpacked, both from what install.sh installs, go into OUT
# (target/packages). BUILT and RUNTIME, as for install.sh, say where the programs and ONNX Runtime are. With ARCH=arm64 on
# another machine they are what scripts/arm64 has made, and OUT is target/packages-arm64.
#
# The same programs make the same packages, byte for byte: their dates are those of the last commit.
set -euo pipefail
kind=$1
cd "$(dirname "$0")/../.."
ROOT=$PWD
# dpkg is told of another architecture than the machine's.
dpkg_for=()
if [ "${ARCH:-}" = arm64 ] && [ "$(uname -m)" != aarch64 ]; then
    . scripts/arm64/common.sh
    export CARGO_BUILD_TARGET=$TARGET SYSROOT
    BUILT=${BUILT:-$ARM64/build/$TARGET/release}
    RUNTIME=${RUNTIME:-$ARM64/onnxruntime}
    OUT=${OUT:-target/packages-arm64}
    dpkg_for=(dpkg-architecture -a arm64 -c)
fi
BUILT=$(realpath "${BUILT:-target/release}")
RUNTIME=$(realpath "${RUNTIME:-target/onnxruntime}")
OUT=$(realpath -m "${OUT:-target/packages}")
export ROOT BUILT RUNTIME OUT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
umask 022

# The version in Cargo.toml if this commit has its tag; before that it is on the way there, which sorts before it.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if [ "$(git tag --points-at HEAD "v$version")" = "" ]; then
    version+="~$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M --format=%cd.%h --abbrev=7)"
fi

# licences FOLDER: of everything that the packages contain.
licences() {
    mkdir -p "$1"
    cp LICENSE "$1/gst-plugin-lipsync.txt"
    cp models/LICENSE.md "$1/avatars.md"
    cp "$RUNTIME/LICENSE" "$1/onnxruntime.txt"
    cp "$RUNTIME/ThirdPartyNotices.txt" "$1/onnxruntime-third-parties.txt"
    cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$1/rust-standard-library.html"
    python3 -I scripts/deb/parts.py gst-plugin-lipsync "$1/plugin" "pkg:pypi/onnxruntime@$(cat "$RUNTIME/version")=MIT"
    python3 -I scripts/deb/parts.py lipsync-cli "$1/tool"
    target/venv-parts/bin/python -I scripts/deb/check_parts.py "$1"/{plugin,tool}/parts.cdx.json
}

make_deb() {
    local tree=$OUT/tree
    rm -rf "$tree"
    mkdir -p "$tree"
    cp -r scripts/deb/debian "$tree/debian"
    cp CHANGELOG.md "$tree/"
    licences "$tree/licences"
    cat >"$tree/debian/changelog" <<END
gst-plugin-lipsync ($version-1) unstable; urgency=medium

  * As CHANGELOG.md says.

 -- $(sed -n 's/^Maintainer: //p' scripts/deb/debian/control)  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END
    # Which package of that architecture has which library.
    [ "${#dpkg_for[@]}" -eq 0 ] || cp "$SYSROOT/shlibs" "$tree/debian/shlibs.local"
    rm -f "$OUT"/*.deb
    # Only what goes wrong is worth reading.
    if ! (cd "$tree" && "${dpkg_for[@]}" debian/rules binary >"$OUT/log" 2>&1); then
        cat "$OUT/log" >&2
        exit 1
    fi
    rm -rf "$tree"
    ls -lh "$OUT"/*.deb
}

make_tarball() {
    local name stage=$OUT/stage
    name=lipsync-$version-$(uname -m)-linux
    rm -rf "$stage" "$OUT"/*.tar.gz
    DESTDIR=$stage PREFIX=/$name PLUGINDIR=/$name/lib/gstreamer-1.0 scripts/install.sh install >"$OUT/log"
    # The list is for make uninstall.
    rm -r "$stage/$name"/share/lipsync/{installed,licences}
    licences "$stage/$name/share/lipsync/licences"
    strip --strip-unneeded "$stage/$name"/bin/lipsync "$stage/$name"/lib/gstreamer-1.0/libgstlipsync.so
    cp scripts/deb/tarball.md "$stage/$name/README.md"
    tar -C "$stage" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c "$name" |
        gzip -n >"$OUT/$name.tar.gz"
    rm -rf "$stage"
    ls -lh "$OUT"/*.tar.gz
}

mkdir -p "$OUT"
"make_$kind"
