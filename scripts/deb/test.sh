#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Installs the packages into fresh Debian systems, makes videos there as an ordinary user, and purges them: test.sh [SUITE...]
#
# Needs root: each system is made by debootstrap once, kept in ROOTS (target/deb-roots), and changed in a layer above it
# that is thrown away. OUT (target/packages) is where the packages are. Suites are bookworm (12) and trixie (13) unless named.
#
# With ARCH=arm64 on another machine they are the packages in target/packages-arm64, and qemu emulates such a processor: one
# second is spoken, on bookworm. Needs what scripts/arm64/prepare.sh fetches.
set -euo pipefail
cd "$(dirname "$0")/../.."
NATIVE=$(dpkg --print-architecture)
ARCH=${ARCH:-$NATIVE}
[ "$ARCH" = "$NATIVE" ] && folder=target/packages || folder=target/packages-$ARCH
OUT=$(realpath "${OUT:-$folder}")
ROOTS=$(realpath -m "${ROOTS:-target/deb-roots}")
# Where this system's own packages come from, unless another archive of Debian is named.
# shellcheck disable=SC2016 # apt expands it
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 'debian/*$')}
# What is mounted is unmounted when this ends, however it does.
if [ "${LIPSYNC_OWN_MOUNTS:-}" = "" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "test-deb: run it as root: it makes Debian systems of their own" >&2; exit 1; }
    LIPSYNC_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
if [ $# -eq 0 ]; then
    set -- bookworm
    [ "$ARCH" != "$NATIVE" ] || set -- "$@" trixie
fi

fail() {
    echo "FAIL $*" >&2
    exit 1
}

# What the kernel is to do with programs for ARM64: told for this test alone, unless it knows already.
HANDLERS=/proc/sys/fs/binfmt_misc
emulate() {
    scripts/install-packages.sh qemu-user-static
    [ -e $HANDLERS/register ] || mount -t binfmt_misc binfmt_misc $HANDLERS
    [ ! -e $HANDLERS/qemu-aarch64 ] || return 0
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >$HANDLERS/register
    trap 'echo -1 >$HANDLERS/qemu-aarch64' EXIT
}

# make_root SUITE FOLDER
make_root() {
    [ ! -e "$2/done" ] || return 0
    echo "==> making a Debian system: $1, $ARCH"
    rm -rf "${2:?}"
    mkdir -p "$2"
    # Older debootstraps do not know the newest suites, which are made as sid is.
    local script=
    [ -e "/usr/share/debootstrap/scripts/$1" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase --arch="$ARCH" "$1" "$2/system" "$MIRROR" ${script:+"$script"} >"$2/log" ||
        fail "debootstrap $1: see $2/log"
    rm -f "$2"/system/var/cache/apt/archives/*.deb
    touch "$2/done"
}

# The launch line that the README begins with.
launch_line() {
    sed -n '/^gst-launch-1.0 filesrc/,/[^\\]$/ { p; /[^\\]$/q }' README.md
}

# seconds FILE STREAM
seconds() {
    ffprobe -v error -select_streams "$2" -show_entries stream=duration -of csv=p=0 "$1"
}

# A video of a recording has its length, in pictures and in sound: check_video VIDEO RECORDING
check_video() {
    local length stream is
    length=$(seconds "$2" a)
    for stream in v a; do
        is=$(seconds "$1" "$stream")
        awk "BEGIN { exit !($is > $length - 0.001 && $is < $length + 0.05) }" ||
            fail "$1: $stream is $is s long, the recording $length s"
    done
}

# inside SYSTEM ACTION: inside.sh in that system.
inside() {
    chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin ${QEMU_CPU:+"QEMU_CPU=$QEMU_CPU"} sh /packages/inside.sh "$2"
}

test_suite() {
    local suite=$1 root=$ROOTS/$1
    [ "$ARCH" = "$NATIVE" ] || root+=-$ARCH
    local layer=$root/layer system=$root/mounted
    make_root "$suite" "$root"
    rm -rf "$layer" "$root/work"
    mkdir -p "$layer" "$root/work" "$system" "$root/archives"
    mount -t overlay overlay -o "lowerdir=$root/system,upperdir=$layer,workdir=$root/work" "$system"
    mount -t proc proc "$system/proc"
    mount --rbind /dev "$system/dev"
    # What has been downloaded once is not downloaded again.
    mount --bind "$root/archives" "$system/var/cache/apt/archives"
    cp /etc/resolv.conf "$system/etc/"
    # This is a folder, not a machine: nothing is started, and nothing need outlive a power failure.
    printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"
    chmod +x "$system/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$system/etc/dpkg/dpkg.cfg.d/unsafe"
    mkdir "$system/packages"
    cp "$OUT"/*.deb scripts/deb/inside.sh "$system/packages/"
    launch_line >"$system/packages/launch.sh"
    if [ "$ARCH" = "$NATIVE" ]; then
        cp examples/sample.wav "$system/packages/"
    else
        ffmpeg -v error -t 1 -i examples/sample.wav -c copy "$system/packages/sample.wav"
        mount --bind "$SYSROOT/proc/cpuinfo" "$system/proc/cpuinfo"
    fi
    echo "==> installing on Debian $(cat "$system/etc/debian_version"), $ARCH"
    inside "$system" install
    for film in rendered launched; do check_video "$system/home/user/$film.mp4" "$system/packages/sample.wav"; done
    inside "$system" purge
    umount -R "$system"
    rm -rf "$layer" "$root/work"
    echo "==> $suite, $ARCH: the packages install, speak and go"
}

ls "$OUT"/*.deb >/dev/null || fail "there are no packages in $OUT. Run make deb first"
if [ "$ARCH" != "$NATIVE" ]; then
    # The processor that is emulated, and its /proc/cpuinfo.
    . scripts/arm64/common.sh
    emulate
fi
for suite in "$@"; do test_suite "$suite"; done
