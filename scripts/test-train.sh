#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# The whole way from a film to an avatar that speaks, with the real training: test-train.sh FOLDER [MINUTES [OPTIONS ...]]
# Theo speaks, is filmed, and learnt from; OPTIONS are those of lipsync train (--python FILE, --threads N).
set -eu
folder=$1 minutes=${2:-8}
[ $# -lt 2 ] || shift
shift
lipsync=${LIPSYNC:-target/release/lipsync}
film=$folder/theo.mp4 avatars=$folder/avatars

rm -rf "$avatars"
mkdir -p "$folder"
if [ ! -e "$film" ]; then
    echo "==> filming Theo: a minute"
    ffmpeg -v error -y -stream_loop 5 -i examples/sample.wav -t 60 "$folder/speech.wav"
    "$lipsync" render "$folder/speech.wav" "$film" --avatar theo
fi
"$lipsync" train "$film" theo-again --into "$avatars" --minutes "$minutes" "$@"
"$lipsync" check "$avatars/theo-again" --sheet "$folder/check.png" >"$folder/check.txt"
tail -n 1 "$folder/check.txt"
"$lipsync" render examples/sample.wav "$folder/again.mp4" --force --avatar "$avatars/theo-again"
echo "==> see $avatars/theo-again/trained.jpg and $folder/again.mp4"
