#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Unpacks the tarball into a folder with a space in its name and speaks with it, with nothing of this checkout: test-tarball.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=$(realpath "${OUT:-target/packages}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
tarballs=("$OUT"/lipsync-*.tar.gz)
[ -e "${tarballs[0]}" ] || { echo "there is no tarball in $OUT. Run make tarball" >&2; exit 1; }
mkdir "$WORK/un packed"
tar -x -C "$WORK/un packed" -f "${tarballs[0]}"
unpacked=("$WORK/un packed"/lipsync-*)
cp examples/sample.wav "$WORK/speech.wav"
cd "$WORK"
# GStreamer's own plugins are the system's; all else must be found where the tarball is.
run() { env -i PATH=/usr/bin:/bin HOME="$WORK" LC_ALL=C.UTF-8 GST_REGISTRY="$WORK/$1.bin" "${@:2}"; }
run tool "${unpacked[0]}/bin/lipsync" list | grep -q theo
run tool "${unpacked[0]}/bin/lipsync" render speech.wav out.mp4
run plugin GST_PLUGIN_PATH="${unpacked[0]}/lib/gstreamer-1.0" \
    gst-launch-1.0 -q filesrc location=speech.wav ! wavparse ! lipsync avatar=theo ! x264enc ! mp4mux ! filesink location=silent.mp4
length=$(ffprobe -v error -show_entries format=duration -of csv=p=0 speech.wav)
for film in out.mp4 silent.mp4; do
    is=$(ffprobe -v error -select_streams v -show_entries stream=duration -of csv=p=0 "$film")
    awk "BEGIN { exit !($is > $length - 0.001 && $is < $length + 0.05) }" ||
        { echo "FAIL $film is $is s long, the recording $length s" >&2; exit 1; }
done
echo "==> the tarball works where it was unpacked"
