#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# On air by RTMP while the server is stopped and started again.   restart.sh [SECONDS], before and after each
set -- "${1:-60}"
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
prepare nginx libnginx-mod-rtmp
# shellcheck source=scripts/on_air/nginx.sh
. "$HERE/nginx.sh"
start_nginx

say "the presenter goes on air for twice $LENGTH s"
make_speech $((LENGTH + 60))
mkfifo "$WORK/film"
# shellcheck disable=SC2016 # for the shell that is started
start carrier bash -c 'exec "$0" "$1" <"$2"' "$HERE/keep_on_air.sh" "$RTMP_URL" "$WORK/film"
# shellcheck disable=SC2016,SC2086 # for the shell that is started; a launch line is a list of words
start sender bash -c 'exec gst-launch-1.0 -q "$@" >"$0"' "$WORK/film" $PRESENTER $PICTURE ! $VIDEO ! h264parse ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. flvmux name=mux streamable=true latency="$MUX_LATENCY" ! fdsink
sleep 4
receive "$WORK/before.flv"

say "stopping nginx"
stop nginx
wait_until carrier "$PATIENCE" grep -q "off air" "$WORK/carrier.log"
sleep 3
start_nginx
wait_until carrier "$PATIENCE" grep -q "on air again" "$WORK/carrier.log"
receive "$WORK/after.flv"
kill -0 "${RUNNING[sender]}" || give_up sender "ended with the server"
sed 's/^/    /' "$WORK/carrier.log"

cp "$WORK/sender.log" "$WORK/on-air.log"
stop carrier
stop sender
stop nginx
judge "$WORK/before.flv" --seconds "$LENGTH" --log "$WORK/on-air.log" && good=0 || good=1
judge "$WORK/after.flv" --seconds "$LENGTH" && exit "$good"
