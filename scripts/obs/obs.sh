#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# OBS Studio takes the presenter by UDP or SRT, picture and sound in one source, and records; the recording is judged.
#   obs.sh [SECONDS]      INPUT=udp (the default) or srt, FPS=25 frames per second of OBS
# OBS paints with the processor here, and comes first: the presenter has a second for each picture.
LIPSYNC=${LIPSYNC:-processing-latency=1000000000}
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/../on_air/common.sh"
INPUT=${INPUT:-udp}
FPS=${FPS:-25}
OBS=$ROOT/scripts/obs
SHEETS=$ROOT/target/obs
case $INPUT in udp | srt) ;; *) fail "INPUT=$INPUT: say udp or srt" ;; esac
prepare obs-studio xvfb libgl1-mesa-dri

# ---- OBS, as a user has set it up

port=$(free_port)
config=$WORK/config/obs-studio
recordings=$WORK/recordings
mkdir -p "$config/basic/profiles/Presenter" "$config/basic/scenes" "$recordings" "$WORK/home" "$SHEETS"
case $INPUT in
udp) url="udp://127.0.0.1:$port" ;;
srt) url="srt://127.0.0.1:$port?mode=caller" ;;
esac
fill() { sed -e "s|@INPUT@|$url|" -e "s|@RECORDINGS@|$recordings|" -e "s|@SCRIPT@|$OBS/record.lua|" -e "s|@WORK@|$WORK|" -e "s|@FPS@|$FPS|" "$OBS/$1"; }
fill global.ini >"$config/global.ini"
fill profile.ini >"$config/basic/profiles/Presenter/basic.ini"
fill scenes.json >"$config/basic/scenes/Presenter.json"

# ---- OBS first, which takes seconds to start, and is at rest when the first picture comes

# A display of its own; it tells its number when it is ready.
start display bash -c "exec Xvfb -displayfd 3 -screen 0 1024x640x24 -nolisten tcp 3>'$WORK/display'"
wait_until display "$PATIENCE" test -s "$WORK/display"
export DISPLAY
DISPLAY=:$(cat "$WORK/display")

say "OBS starts"
start obs env -u WAYLAND_DISPLAY HOME="$WORK/home" XDG_CONFIG_HOME="$WORK/config" XDG_RUNTIME_DIR="$WORK/home" QT_QPA_PLATFORM=xcb \
    LIBGL_ALWAYS_SOFTWARE=1 obs --multi --disable-updater --disable-missing-files-check
wait_until obs $((PATIENCE + 40)) test -e "$WORK/ready"
sleep 2

# ---- on air

make_speech 60
sink="udpsink host=127.0.0.1 port=$port"
[ "$INPUT" = udp ] || sink="srtsink uri=srt://127.0.0.1:$port?mode=listener wait-for-connection=false"
say "the presenter goes on air, by $INPUT at port $port, and OBS records as soon as it has a picture"
# A key frame a second, as OBS shows nothing before the first one. Small, because OBS paints without a graphics card here.
# shellcheck disable=SC2086 # a launch line is a list of words
start sender nice -n 5 gst-launch-1.0 -e $PRESENTER $PICTURE ! queue ! videoscale ! video/x-raw,width=640,height=360 ! ${VIDEO/key-int-max=50/key-int-max=25} \
    ! h264parse config-interval=-1 ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. mpegtsmux name=mux alignment=7 latency="$MUX_LATENCY" ! $sink
[ "$INPUT" = udp ] || wait_until sender "$PATIENCE" is_open "$port"
wait_until obs $((PATIENCE + 40)) test -e "$WORK/started"
say "recording for $LENGTH s"
for _ in $(seq "$LENGTH"); do
    sleep 1
    kill -0 "${RUNNING[obs]}" 2>/dev/null || give_up obs "ended too early"
done
touch "$WORK/stop"
wait_until obs "$PATIENCE" test -e "$WORK/stopped"
python3 -I "$OBS/close.py" OBS
closed() { ! kill -0 "$1" 2>/dev/null; }
pid=${RUNNING[obs]}
for _ in $(seq "$PATIENCE"); do
    closed "$pid" && break
    sleep 1
done
closed "$pid" || give_up obs "is not closed by its window"
unset "RUNNING[obs]"
# Not its status: behind its last word, Debian's OBS may crash in the second of the two libsrt that it and ffmpeg load.
wait "$pid" 2>/dev/null || true
grep -q "Number of memory leaks" "$WORK/obs.log" || give_up obs "did not end well"
stop sender
stop display

# ---- the verdict

recording=$(find "$recordings" -name '*.mkv')
name=$SHEETS/$INPUT
cp "$recording" "$name.mkv"
cp "$WORK/obs.log" "$name.log"
say "what OBS says of itself"
grep -E "lagged|skipped|memory leaks" "$name.log" | sed 's/^/     /' || true
# Twelve pictures of five seconds of speech.
ffmpeg -v error -y -ss 4 -i "$name.mkv" -vf "fps=12/5,scale=426:-2,tile=4x3" -frames:v 1 "$name.png"
say "contact sheet: ${name#"$ROOT"/}.png, recording: ${name#"$ROOT"/}.mkv"
# OBS begins to show a source with a frame of its own, and keeps the distance: a frame and a half.
LIMIT=${LIMIT:-60}
judge "$name.mkv" --fps "$FPS" --held "${HELD:-0.01}"
