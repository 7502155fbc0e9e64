#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Installs the packages into fresh Debian systems, makes videos there as an ordinary user, and purges them: test.sh [SUITE...]
#
# Needs root: each system is made by debootstrap once, kept in ROOTS (target/deb-roots), and changed in a layer above it
# that is thrown away. OUT (target/packages) is where the packages are. Suites are bookworm (12) and trixie (13) unless named.
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=$(realpath "${OUT:-target/packages}")
ROOTS=$(realpath -m "${ROOTS:-target/deb-roots}")
# Where this system's own packages come from, unless another archive of Debian is named.
# shellcheck disable=SC2016 # apt expands it
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 'debian/*$')}
# What is mounted is unmounted when this ends, however it does.
if [ "${LIPSYNC_OWN_MOUNTS:-}" = "" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "test-deb: run it as root: it makes Debian systems of their own" >&2; exit 1; }
    LIPSYNC_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
[ $# -gt 0 ] || set -- bookworm trixie

fail() {
    echo "FAIL $*" >&2
    exit 1
}

make_root() {
    [ ! -e "$ROOTS/$1/done" ] || return 0
    echo "==> making a Debian system: $1"
    rm -rf "${ROOTS:?}/$1"
    mkdir -p "$ROOTS/$1"
    # Older debootstraps do not know the newest suites, which are made as sid is.
    local script=
    [ -e "/usr/share/debootstrap/scripts/$1" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase "$1" "$ROOTS/$1/system" "$MIRROR" ${script:+"$script"} >"$ROOTS/$1/log" ||
        fail "debootstrap $1: see $ROOTS/$1/log"
    rm -f "$ROOTS/$1"/system/var/cache/apt/archives/*.deb
    touch "$ROOTS/$1/done"
}

# The launch line that the README begins with.
launch_line() {
    sed -n '/^gst-launch-1.0 filesrc/,/[^\\]$/ { p; /[^\\]$/q }' README.md
}

# seconds FILE STREAM
seconds() {
    ffprobe -v error -select_streams "$2" -show_entries stream=duration -of csv=p=0 "$1"
}

# A video of the recording has its length, in pictures and in sound.
check_video() {
    local length stream is
    length=$(seconds examples/sample.wav a)
    for stream in v a; do
        is=$(seconds "$1" "$stream")
        awk "BEGIN { exit !($is > $length - 0.001 && $is < $length + 0.05) }" ||
            fail "$1: $stream is $is s long, the recording $length s"
    done
}

test_suite() {
    local suite=$1 layer=$ROOTS/$1/layer system=$ROOTS/$1/mounted
    make_root "$suite"
    rm -rf "$layer" "$ROOTS/$suite/work"
    mkdir -p "$layer" "$ROOTS/$suite/work" "$system" "$ROOTS/$suite/archives"
    mount -t overlay overlay -o "lowerdir=$ROOTS/$suite/system,upperdir=$layer,workdir=$ROOTS/$suite/work" "$system"
    mount -t proc proc "$system/proc"
    mount --rbind /dev "$system/dev"
    # What has been downloaded once is not downloaded again.
    mount --bind "$ROOTS/$suite/archives" "$system/var/cache/apt/archives"
    cp /etc/resolv.conf "$system/etc/"
    # This is a folder, not a machine: nothing is started, and nothing need outlive a power failure.
    printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"
    chmod +x "$system/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$system/etc/dpkg/dpkg.cfg.d/unsafe"
    mkdir "$system/packages"
    cp "$OUT"/*.deb examples/sample.wav scripts/deb/inside.sh "$system/packages/"
    launch_line >"$system/packages/launch.sh"
    echo "==> installing on Debian $(cat "$system/etc/debian_version")"
    chroot "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /packages/inside.sh install
    for film in rendered launched; do check_video "$system/home/user/$film.mp4"; done
    chroot "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /packages/inside.sh purge
    umount -R "$system"
    rm -rf "$layer" "$ROOTS/$suite/work"
    echo "==> $suite: the packages install, speak and go"
}

ls "$OUT"/*.deb >/dev/null || fail "there are no packages in $OUT. Run make deb first"
for suite in "$@"; do test_suite "$suite"; done
