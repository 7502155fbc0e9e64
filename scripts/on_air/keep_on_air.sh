#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Carries a film from standard input to an RTMP server, and connects anew where the server goes away: for as long as it
# takes, while the presenter goes on.
#
#   gst-launch-1.0 -q ... ! flvmux streamable=true ! fdsink | keep_on_air.sh rtmp://SERVER/live/KEY
#
# rtmp2sink ends its whole pipeline when the server does. What comes here while there is no server is lost, as on air.
set -eu
[ $# -eq 1 ] || { echo "usage: gst-launch-1.0 -q ... ! fdsink | $0 rtmp://SERVER/live/KEY" >&2; exit 2; }
command -v ffmpeg >/dev/null || { echo "$0: there is no ffmpeg. Install it: apt-get install ffmpeg" >&2; exit 1; }

# copytb: else the times of the pictures are rounded to whole frames, and are up to half a frame beside the sound.
# recover_any_error: also where the server refuses, as it does while it takes the old connection to be alive.
# drop_pkts_on_overflow: without, whoever writes to us would wait. rw_timeout: a server may also just fall silent.
carry() {
    ffmpeg -hide_banner -nostats -loglevel info -i - -map 0:v -map 0:a -c copy -copytb 1 \
        -f fifo -fifo_format flv -queue_size 1000 -drop_pkts_on_overflow 1 \
        -attempt_recovery 1 -recover_any_error 1 -recovery_wait_time 1 -format_opts rw_timeout=5000000 "$1" 2>&1
}

# Of what ffmpeg says, what somebody at the desk wants to know: since when there is no server and why, and when it is back.
tell() {
    away=
    while IFS= read -r line; do
        case $line in
            *"Recovery successful"*)
                say "on air again"
                away= ;;
            *"Error opening "*)
                [ -n "$away" ] || say "off air, no connection to the server: ${line##*: }. Trying again every second"
                away=yes ;;
            pipe:*) say "what comes in is no film: ${line##*: }" ;;
        esac
    done
}

say() { echo "==> $(date +%T) $1" >&2; }

carry "$1" | tell
