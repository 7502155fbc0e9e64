# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash disable=SC2034
# What the four ways on air share: the presenter, the encoders, starting and stopping programs, the verdict.
# Sourced by rtmp.sh, restart.sh, srt.sh, hls.sh and udp.sh, each of which takes the seconds to be on air.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HERE=$ROOT/scripts/on_air
LENGTH=${1:-120}
SPEECH=${SPEECH:-$ROOT/examples/sample.wav}
# What is judged: everything, in real time, or (arrival) only that picture and sound come, on whatever machine.
JUDGE=${JUDGE:-everything}
# Seconds that a program may take longer than on a machine with nothing else to do.
PATIENCE=${PATIENCE:-40}
WORK=$(mktemp -d)
CACHE=$ROOT/target/on_air
mkdir -p "$CACHE"

export GST_PLUGIN_PATH=${LIPSYNC_PLUGIN:-$ROOT/target/plugin} GST_REGISTRY=$WORK/gst-registry.bin
# Warnings go to the log, where the judge looks for what was lost or late.
export GST_DEBUG=${GST_DEBUG:-2} GST_DEBUG_NO_COLOR=1

say() { echo "==> $*"; }

fail() {
    echo "FAIL $*" >&2
    exit 1
}

# ---- before anything is broadcast

# prepare PACKAGES...: sees to it that all is there that is needed on air and for the verdict.
prepare() {
    if [ "$JUDGE" = everything ] && [ "$LENGTH" -lt 30 ]; then
        fail "$LENGTH seconds are too few to judge: the recording takes eleven. Say 30 or more"
    fi
    [ -f "$SPEECH" ] || fail "SPEECH=$SPEECH: no such file"
    "$ROOT/scripts/install-packages.sh" gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav ffmpeg "$@"
    GST_DEBUG=0 gst-inspect-1.0 lipsyncsrc >/dev/null 2>&1 || fail "there is no lipsyncsrc in $GST_PLUGIN_PATH. Run make first"
    PYTHON=$ROOT/target/venv/bin/python
    if [ ! -x "$PYTHON" ]; then
        PYTHON=python3
        "$PYTHON" -I -c 'import numpy' 2>/dev/null || "$ROOT/scripts/install-packages.sh" python3-numpy
    fi
    "$PYTHON" -I -c 'import numpy' || fail "$PYTHON has no numpy. Run make fixtures, whose Python has it"
    [ "$JUDGE" = arrival ] || "$PYTHON" "$HERE/judge.py" --prepare --speech "$SPEECH"
}

# ---- the presenter: its pipeline, and the ends of it where picture and sound come out

# By how much avenc_aac delays the sound at 48 kHz, in nanoseconds: 1024 samples, of which no muxer knows.
AAC_DELAY=21333333

PRESENTER="filesrc location=$WORK/speech.wav ! wavparse ! ls.sink lipsyncsrc name=ls audio-offset=-$AAC_DELAY ${LIPSYNC:-}"
PICTURE="ls.src"
SOUND="ls.audio"

# A key frame every two seconds, so that those who tune in need not wait longer.
VIDEO="queue ! x264enc tune=zerolatency speed-preset=${PRESET:-ultrafast} bitrate=${BITRATE:-2500} key-int-max=50"
# 48 kHz, because the delay of AAC, a number of samples, is twice as long at the 24 kHz of the sample. Rate and channels are
# said, because the sound may change its format when somebody begins to speak, and avenc_aac fails when that reaches it.
AUDIO="queue ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! avenc_aac bitrate=128000 ! aacparse ! queue"

# How long a muxer waits for the other stream. Without, it goes on alone on a busy machine, and flvmux then writes wrong times.
MUX_LATENCY=${MUX_LATENCY:-500000000}

# ---- programs

declare -A RUNNING=()

# start NAME COMMAND...: in the background, with its output in a log of that name.
start() {
    local name=$1
    shift
    "$@" >"$WORK/$name.log" 2>&1 &
    RUNNING[$name]=$!
}

# stop NAME: asks it to end, and insists after a while.
stop() {
    local pid=${RUNNING[$1]:-}
    [ -n "$pid" ] || return 0
    unset "RUNNING[$1]"
    kill -INT "$pid" 2>/dev/null || return 0
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

finish() {
    for name in "${!RUNNING[@]}"; do stop "$name"; done
    if [ "${KEEP:-0}" = 1 ]; then say "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap finish EXIT
trap 'exit 1' INT TERM

# Shows the end of a program's log, and gives up.
give_up() {
    echo "FAIL $1: $2" >&2
    tail -n 15 "$WORK/$1.log" >&2 || true
    exit 1
}

# wait_until NAME SECONDS COMMAND...: until the command succeeds; NAME must not end before.
wait_until() {
    local name=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" 2>/dev/null; do
        kill -0 "${RUNNING[$name]}" 2>/dev/null || give_up "$name" "ended too early"
        [ $SECONDS -lt $end ] || give_up "$name" "not ready in time"
        sleep 0.2
    done
}

# wait_for NAME SECONDS: until it has ended well.
wait_for() {
    local pid=${RUNNING[$1]} end=$((SECONDS + $2))
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $end ] || give_up "$1" "still running after $2 s"
        # After an error gst-launch-1.0 -e waits for an end that may never come.
        ! grep -q '^ERROR:' "$WORK/sender.log" 2>/dev/null || give_up sender "failed"
        sleep 0.5
    done
    unset "RUNNING[$1]"
    wait "$pid" || give_up "$1" "ended with status $?"
}

# is_open PORT: whether somebody listens at a port, of UDP or TCP.
is_open() { grep -qi ":$(printf %04X "$1") " /proc/net/tcp /proc/net/udp /proc/net/tcp6 /proc/net/udp6 2>/dev/null; }

# A port that nobody listens at.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        is_open "$port" || break
    done
    echo "$port"
}

# ---- on air

# The recording again and again. The pauses are no whole number of frames, so that it begins anywhere within one.
make_speech() {
    ffmpeg -v error -y -i "$SPEECH" -af adelay=1s:all=1,apad=pad_dur=0.513 "$WORK/piece.wav"
    ffmpeg -v error -y -stream_loop -1 -i "$WORK/piece.wav" -t $((LENGTH + ${1:-20})) -c copy "$WORK/speech.wav"
}

# send LINE: puts the presenter on air; LINE is the rest of the pipeline.
send() {
    # shellcheck disable=SC2086 # a launch line is a list of words
    start sender gst-launch-1.0 -e $PRESENTER $1
}

# judge FILE [arguments]: the verdict, which is that of the script.
judge() {
    say "judging what was received"
    "$PYTHON" "$HERE/judge.py" "$@" --what "$JUDGE" --speech "$SPEECH" --limit "${LIMIT:-20}" ${VERBOSE:+--verbose}
}
