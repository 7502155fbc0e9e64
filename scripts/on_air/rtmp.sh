#!/usr/bin/env bash
# On air by RTMP: through nginx, as through any streaming service, to ffmpeg.   rtmp.sh [SECONDS]
# shellcheck source=scripts/on_air/common.sh
. "$(dirname "$0")/common.sh"
"$ROOT/scripts/install-packages.sh" nginx libnginx-mod-rtmp gstreamer1.0-plugins-bad ffmpeg

port=$(free_port)
# An instance of our own: nothing of the system's configuration, nothing outside our folder.
cat >"$WORK/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off;
worker_processes 1;
pid $WORK/nginx.pid;
error_log $WORK/nginx-error.log warn;
events {}
rtmp {
    access_log off;
    server {
        listen 127.0.0.1:$port;
        application live {
            live on;
            wait_key on;
        }
    }
}
CONF
say "starting nginx with RTMP at port $port"
start nginx nginx -p "$WORK" -e "$WORK/nginx-error.log" -c "$WORK/nginx.conf"
wait_until nginx 10 bash -c ">/dev/tcp/127.0.0.1/$port"

say "the presenter goes on air for $LENGTH s"
make_speech
send "$PICTURE ! $VIDEO ! h264parse ! queue ! mux. \
    $SOUND ! $AUDIO ! mux. \
    flvmux name=mux streamable=true latency=$MUX_LATENCY ! rtmp2sink location=rtmp://127.0.0.1:$port/live/presenter"
sleep 4
start receiver ffmpeg -nostdin -y -i "rtmp://127.0.0.1:$port/live/presenter" -t "$LENGTH" -c copy "$WORK/received.flv"
wait_for receiver $((LENGTH + 40))
# What flvmux says when it is stopped is not about what was on air.
cp "$WORK/sender.log" "$WORK/on-air.log"
stop sender
stop nginx
judge "$WORK/received.flv" --seconds "$LENGTH" --log "$WORK/on-air.log" "$WORK/receiver.log"
