#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# On air by RTMP: through nginx, as through any streaming service, to ffmpeg.   rtmp.sh [SECONDS]
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
prepare nginx libnginx-mod-rtmp
# shellcheck source=scripts/on_air/nginx.sh
. "$HERE/nginx.sh"
start_nginx

say "the presenter goes on air for $LENGTH s"
make_speech
send "$PICTURE ! $VIDEO ! h264parse ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. \
    flvmux name=mux streamable=true latency=$MUX_LATENCY ! rtmp2sink location=$RTMP_URL"
sleep 4
receive "$WORK/received.flv"
# What flvmux says when it is stopped is not about what was on air.
cp "$WORK/sender.log" "$WORK/on-air.log"
stop sender
stop nginx
judge "$WORK/received.flv" --seconds "$LENGTH" --log "$WORK/on-air.log" "$WORK/receiver.log"
