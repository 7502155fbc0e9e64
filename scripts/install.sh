#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Installs what `make` has built, or removes it again: install.sh install|uninstall
#
#   PREFIX/lib/gstreamer-1.0        the plugin, and ONNX Runtime, which it looks for beside its own file
#   PLUGINDIR                       a link to the plugin; by default the folder that GStreamer searches with no variable set
#   PREFIX/share/lipsync/avatars    the avatars, which the plugin looks for under the prefix of its own file
#   PREFIX/share/lipsync/installed  what was installed, in this order: files, and folders (with a slash behind them)
#   PREFIX/bin                      lipsync, and lipsync-avatar, its old name
#   PREFIX/share                    its manual pages, and what shells complete of it
#
# DESTDIR, for packagers, is put in front of all of them. Nothing is built and nothing is fetched here, because whoever
# may write there (root) often has neither Rust nor a reason to run a build.
set -eu
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
PREFIX=${PREFIX%/}
BUILT=${BUILT:-target/release}
RUNTIME=${RUNTIME:-target/onnxruntime}
DATA=$PREFIX/share/lipsync
LIST=$DATA/installed

fail() {
    echo "make $action: $*" >&2
    exit 1
}

# The folder in which GStreamer looks for plugins: for a prefix in one's home one's own, else that of the system.
gstreamer_folder() {
    case $PREFIX/ in
        "${HOME:-/nowhere}"/*) echo "${XDG_DATA_HOME:-$HOME/.local/share}/gstreamer-1.0/plugins" ;;
        *) pkg-config --variable=pluginsdir gstreamer-1.0 2>/dev/null || folder_of_core_elements ;;
    esac
}

# Machines that only run GStreamer have no pkg-config.
folder_of_core_elements() {
    file=$(LC_ALL=C gst-inspect-1.0 coreelements 2>/dev/null | sed -n 's/^ *Filename *//p')
    [ -n "$file" ] && dirname "$file"
}

# ---- checks, before anything is written

check_built() {
    for file in "$BUILT/libgstlipsync.so" "$BUILT/lipsync" "$BUILT/share" "$RUNTIME/libonnxruntime.so"; do
        [ -e "$file" ] || fail "$file has not been built. Run make first, as yourself, then make install again"
    done
}

check_writable() {
    folder=$DESTDIR$1
    until [ -e "$folder" ]; do folder=$(dirname "$folder"); done
    [ -w "$folder" ] || fail "you may not write to $folder. Run it with sudo, or choose a folder of yours, as in" \
        "make $action PREFIX=\$HOME/.local"
}

# ---- putting things in place, and noting what was put there

note() { printf '%s\n' "$1" >>"$notes"; }

# Also where the disk is full half-way, so that uninstall knows what to remove.
keep_notes() {
    [ ! -d "$DESTDIR$DATA" ] || install -m 644 "$notes" "$DESTDIR$LIST"
    rm -f "$notes"
}

put_folder() {
    [ ! -d "$DESTDIR$1" ] || return 0
    put_folder "$(dirname "$1")"
    mkdir -m 755 "$DESTDIR$1"
    note "$1/"
}

put() {
    put_folder "$(dirname "$3")"
    install -m "$1" "$2" "$DESTDIR$3"
    note "$3"
}

# A folder at a time: avatars have a thousand files.
put_all_of() {
    find "$1" -type d | sort | while read -r folder; do
        to=$2${folder#"$1"}
        put_folder "$to"
        find "$folder" -maxdepth 1 -type f -exec install -m 644 -t "$DESTDIR$to" {} +
        find "$folder" -maxdepth 1 -type f | sort | while read -r file; do note "$to/${file##*/}"; done
    done
}

install_all() {
    check_built
    PLUGINDIR=${PLUGINDIR:-$(gstreamer_folder)} ||
        fail "neither pkg-config nor gst-inspect-1.0 tells where GStreamer looks for plugins. Name the folder:" \
            "make install PLUGINDIR=..."
    # What lies under the prefix needs no link: so it is in a home, and in packages for /usr.
    case $PLUGINDIR/ in
        "$PREFIX"/*) libraries=$PLUGINDIR ;;
        *) libraries=$PREFIX/lib/gstreamer-1.0 ;;
    esac
    for folder in "$PREFIX/bin" "$DATA/avatars" "$libraries" "$PLUGINDIR"; do check_writable "$folder"; done
    # What an earlier version had and this one has not would stay for ever.
    remove_listed
    notes=$(mktemp)
    trap keep_notes EXIT

    mkdir -p "$DESTDIR/"
    put 755 "$BUILT/libgstlipsync.so" "$libraries/libgstlipsync.so"
    put 755 "$RUNTIME/libonnxruntime.so" "$libraries/libonnxruntime.so.1"
    put 755 "$BUILT/lipsync" "$PREFIX/bin/lipsync"
    ln -sf lipsync "$DESTDIR$PREFIX/bin/lipsync-avatar"
    note "$PREFIX/bin/lipsync-avatar"
    put_all_of "$BUILT/share" "$PREFIX/share"
    for avatar in models/*/; do put_all_of "${avatar%/}" "$DATA/avatars/$(basename "$avatar")"; done
    put 644 LICENSE "$DATA/licences/gst-plugin-lipsync"
    put 644 models/LICENSE.md "$DATA/licences/avatars"
    put 644 "$RUNTIME/LICENSE" "$DATA/licences/onnxruntime"
    put 644 "$RUNTIME/ThirdPartyNotices.txt" "$DATA/licences/onnxruntime-third-parties"
    if [ "$libraries" != "$PLUGINDIR" ]; then
        put_folder "$PLUGINDIR"
        # Relative, so that it also holds where DESTDIR is not the root yet.
        ln -srf "$DESTDIR$libraries/libgstlipsync.so" "$DESTDIR$PLUGINDIR/libgstlipsync.so"
        note "$PLUGINDIR/libgstlipsync.so"
    fi
    note "$LIST"
    echo "==> installed: the plugin into $PLUGINDIR, all else into $PREFIX. Try: gst-inspect-1.0 lipsync"
}

# ---- and away again

# Last things first, so that folders come after what is in them. A folder with something of somebody else's stays.
remove_listed() {
    [ -f "$DESTDIR$LIST" ] || return 0
    tac "$DESTDIR$LIST" | while read -r path; do
        case $path in
            */) rmdir "$DESTDIR$path" 2>/dev/null || true ;;
            *) rm -f "$DESTDIR$path" ;;
        esac
    done
}

uninstall_all() {
    [ -f "$DESTDIR$LIST" ] || fail "nothing is installed in $DESTDIR$PREFIX ($DESTDIR$LIST is missing)." \
        "Give the PREFIX and DESTDIR that make install was given"
    grep -v '/$' "$DESTDIR$LIST" | sed 's,/[^/]*$,,' | sort -u | while read -r folder; do check_writable "$folder"; done
    remove_listed
    echo "==> removed from $DESTDIR$PREFIX what make install had put there"
}

action=$1
case $PREFIX in /*) ;; *) fail "PREFIX=$PREFIX is no absolute path. Begin it with a slash" ;; esac
case ${PLUGINDIR:-/} in /*) ;; *) fail "PLUGINDIR=$PLUGINDIR is no absolute path. Begin it with a slash" ;; esac
cd "$(dirname "$0")/.."
"${action}_all"
