#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# What test.sh does inside a fresh Debian system: inside.sh install|purge. Changes the system that it runs in.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# Of what is recommended, the part that the videos need. Windows, loudspeakers and browsers take 150 packages more.
FOR_VIDEOS="gstreamer1.0-tools gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav"
OURS="gstreamer1.0-lipsync lipsync lipsync-avatars lipsync-doc"

as_user() { su -s /bin/sh user -c "cd; export LC_ALL=C.UTF-8; $1"; }

install_all() {
    apt-get update -qq
    # Everything recommended is there, too: apt would say so and fail.
    apt-get install -s -y /packages/*.deb >/tmp/plan
    echo "    with all that is recommended: $(grep -c '^Inst ' /tmp/plan) packages"
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends /packages/*.deb $FOR_VIDEOS >/tmp/installed 2>&1 || {
        cat /tmp/installed >&2
        exit 1
    }
    # shellcheck disable=SC2086
    dpkg-query -W -f '    ${Package} ${Version}, ${Installed-Size} kB\n' $OURS libgstreamer1.0-0
    useradd --create-home user
    cp /packages/sample.wav /home/user/speech.wav
    as_user "lipsync doctor" || true
    as_user "lipsync render speech.wav rendered.mp4"
    sed 's/location=out.mp4/location=launched.mp4/' /packages/launch.sh >/home/user/launch.sh
    as_user "sh launch.sh"
    for page in lipsync lipsync-render; do test -s "/usr/share/man/man1/$page.1.gz"; done
    test -s /usr/share/doc/gstreamer1.0-lipsync/copyright
}

purge_all() {
    # shellcheck disable=SC2086
    dpkg-query -L $OURS | sort -u | while read -r path; do [ -d "$path" ] || echo "$path"; done >/tmp/ours
    # shellcheck disable=SC2086
    apt-get purge -qq -y $OURS >/dev/null
    while read -r path; do
        [ ! -e "$path" ] || { echo "FAIL $path is left" >&2; exit 1; }
    done </tmp/ours
    left=$(find / -xdev -iname '*lipsync*' ! -path '/home/*' ! -path '/packages/*' ! -path '/proc/*' ! -path '/var/cache/apt/*')
    [ -z "$left" ] || { echo "FAIL left: $left" >&2; exit 1; }
}

"$1_all"
