#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Renders an MP4 and a contact sheet of the avatar speaking an audio file: demo.sh IN OUT.mp4 SHEET.png [lipsync properties]
set -eu
sound=$1
mp4=$2
sheet=$3
shift 3
# The README's first recipe, which is explained there. faststart puts the index first, so that browsers start playback at once.
gst-launch-1.0 -q -e filesrc location="$sound" ! decodebin ! tee name=sound \
    sound. ! queue ! lipsync "$@" ! x264enc speed-preset=veryfast bitrate=3000 ! film. \
    sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample \
        ! audio/x-raw,rate=48000 ! avenc_aac ! mp4mux name=film faststart=true ! filesink location="$mp4"
seconds=$(ffprobe -v error -show_entries format=duration -of default=nk=1:nw=1 "$mp4")
ffmpeg -v error -y -i "$mp4" -vf "fps=15/$seconds,scale=480:-2,tile=5x3" -frames:v 1 -update 1 "$sheet"
echo "==> $mp4 ($seconds s) and its contact sheet $sheet"
