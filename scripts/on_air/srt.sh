#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# On air by SRT: the presenter listens, a receiver calls.   srt.sh [SECONDS]
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
prepare

port=$(free_port)
say "the presenter goes on air for $LENGTH s, by SRT at port $port"
make_speech
send "$PICTURE ! $VIDEO ! h264parse config-interval=-1 ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. \
    mpegtsmux name=mux alignment=7 latency=$MUX_LATENCY ! srtsink uri=srt://127.0.0.1:$port?mode=listener wait-for-connection=false"
wait_until sender "$PATIENCE" is_open "$port"
sleep 4
if ffmpeg -hide_banner -protocols 2>/dev/null | grep -qw srt; then
    say "received by ffmpeg"
    start receiver ffmpeg -nostdin -y -i "srt://127.0.0.1:$port?mode=caller" -t "$LENGTH" -c copy "$WORK/received.ts"
    wait_for receiver $((LENGTH + PATIENCE))
else
    say "received by another GStreamer"
    start receiver gst-launch-1.0 -e srtsrc uri="srt://127.0.0.1:$port?mode=caller" ! filesink location="$WORK/received.ts"
    sleep "$LENGTH"
    stop receiver
fi
stop sender
judge "$WORK/received.ts" --seconds "$LENGTH" --log "$WORK/sender.log" "$WORK/receiver.log"
