#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Checks the prerequisites of training from footage before anything is installed: ready.sh FOOTAGE AVATAR LENGTH
set -eu
footage=$1 avatar=$2 length=$3 least=250

fail() {
    echo "$1" >&2
    exit 1
}

[ -n "$footage" ] || fail "Say what to learn from: FOOTAGE=me. Make it of a video with: lipsync new me.mp4 me"
[ -d "$footage" ] || fail "FOOTAGE=$footage: no such folder. Make one of a video with: lipsync new me.mp4 me"
[ -n "$avatar" ] || fail "Say where the avatar shall go: AVATAR=avatars/me"
for part in full_body_img/0.jpg landmarks/0.lms aud.wav; do
    [ -e "$footage/$part" ] || fail "$footage/$part: no such file. Make the whole folder of a video with: lipsync new me.mp4 me"
done
frames=$(find "$footage/full_body_img" -name '*.jpg' | wc -l)
[ "$frames" -ge $least ] ||
    fail "$footage: holds $frames frames; at least $least (10 s) are needed, 3 minutes are good. Film longer"
for network in audio_encoder generator; do
    [ -e "../models/iris/$network.onnx" ] || [ -e "$WORK/encoder.pt" ] ||
        fail "models/iris/$network.onnx: no such file. What the kit hears with is taken from it: check the sources out again"
done
command -v python3.11 >/dev/null || fail "python3.11: not found. The kit's packages are those for Python 3.11, which is Debian 12's"

[ -z "${MINUTES:-}" ] || length="$MINUTES minutes"
echo "==> learning from $((frames / 25)) s of footage ($length)"
