#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
# On air by HLS: segments in a folder, served over HTTP, played by a real Chromium.   hls.sh [SECONDS]
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
prepare chromium

# hls.js is what web pages play HLS with; it is fetched once and kept outside of what is committed.
if [ ! -f "$CACHE/hls.js" ] && command -v npm >/dev/null; then
    say "fetching hls.js"
    (cd "$WORK" && npm pack --silent hls.js@1.7.4 >/dev/null &&
        echo "e4ab3d5d13f7cca9ef241d098f39686e19fd451831ba07dc9943482fd5ff75c7  hls.js-1.7.4.tgz" | sha256sum --check --quiet &&
        tar xzf hls.js-*.tgz package/dist/hls.min.js) &&
        mv "$WORK/package/dist/hls.min.js" "$CACHE/hls.js"
fi
folder=$WORK/www
mkdir -p "$folder"
cp "$HERE/player.html" "$folder/index.html"
if [ -f "$CACHE/hls.js" ]; then cp "$CACHE/hls.js" "$folder/"; else say "no hls.js: Chromium plays HLS by itself"; fi

port=$(free_port)
say "starting an HTTP server at port $port"
start server python3 "$HERE/serve.py" "$folder" "$port"
wait_until server "$PATIENCE" bash -c ">/dev/tcp/127.0.0.1/$port"

say "the presenter goes on air for $LENGTH s"
make_speech
# All segments are kept, so that the whole can be judged; a station would let the old ones go.
send "hlssink2 name=mux target-duration=2 playlist-length=0 max-files=0 \
        playlist-location=$folder/air.m3u8 location=$folder/%05d.ts \
    $PICTURE ! $VIDEO ! h264parse config-interval=-1 ! queue ! mux.video \
    $SOUND ! $AUDIO ! mux.audio"
began=$SECONDS
wait_until sender 60 test -s "$folder/00002.ts"

say "Chromium tunes in"
start browser chromium --headless=new --no-sandbox --disable-gpu --no-first-run --mute-audio \
    --user-data-dir="$WORK/chromium" --autoplay-policy=no-user-gesture-required "http://127.0.0.1:$port/index.html"
wait_until browser $((LENGTH + 60)) test -s "$folder/posted/report.json"
stop browser
echo "     Chromium's report: $(cat "$folder/posted/report.json")"

left=$((LENGTH + 4 - (SECONDS - began)))
if [ $left -gt 0 ]; then sleep $left; fi
stop sender
say "reading the whole by its playlist"
start receiver ffmpeg -nostdin -y -live_start_index 0 -i "http://127.0.0.1:$port/air.m3u8" -t "$LENGTH" -c copy "$WORK/received.ts"
wait_for receiver 60
stop server
judge "$WORK/received.ts" --seconds "$LENGTH" --log "$WORK/sender.log" "$WORK/receiver.log" && good=0 || good=1
judge "$folder/posted" && exit "$good"
