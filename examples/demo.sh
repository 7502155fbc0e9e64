#!/bin/sh
# Makes an MP4 and a contact sheet of the avatar speaking a WAV: demo.sh IN.wav OUT.mp4 SHEET.png [lipsync properties]
set -eu
wav=$1
mp4=$2
sheet=$3
shift 3
# The queue of the sound is not bounded in time, because x264enc looks ahead further than a default queue holds.
# 48 kHz, because avenc_aac delays the sound by 1024 samples, of which mp4mux does not tell the player.
gst-launch-1.0 -e \
    filesrc location="$wav" ! wavparse ! tee name=sound \
    sound. ! queue ! lipsync "$@" ! x264enc speed-preset=veryfast bitrate=3000 ! h264parse ! queue ! mux. \
    sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 \
        ! audioconvert ! audioresample ! audio/x-raw,rate=48000 ! avenc_aac ! queue ! mux. \
    mp4mux name=mux faststart=true ! filesink location="$mp4"
seconds=$(ffprobe -v error -show_entries format=duration -of default=nk=1:nw=1 "$mp4")
ffmpeg -v error -y -i "$mp4" -vf "fps=15/$seconds,scale=480:-2,tile=5x3" -frames:v 1 -update 1 "$sheet"
echo "==> $mp4 ($seconds s) and its contact sheet $sheet"
