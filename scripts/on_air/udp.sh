#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# On air by MPEG-TS over UDP, as OBS takes it in a Media Source, to ffmpeg, which OBS reads it with.   udp.sh [SECONDS]
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
prepare

port=$(free_port)
say "the presenter goes on air for $LENGTH s, by UDP to port $port"
make_speech
# UDP has no connection: who listens first misses nothing.
start receiver ffmpeg -nostdin -y -i "udp://127.0.0.1:$port?fifo_size=100000" -t "$LENGTH" -c copy "$WORK/received.ts"
send "$PICTURE ! $VIDEO ! h264parse config-interval=-1 ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. \
    mpegtsmux name=mux alignment=7 latency=$MUX_LATENCY ! udpsink host=127.0.0.1 port=$port"
wait_for receiver $((LENGTH + PATIENCE))
stop sender
judge "$WORK/received.ts" --seconds "$LENGTH" --log "$WORK/sender.log" "$WORK/receiver.log"
