# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash
# An nginx with RTMP of our own: nothing of the system's configuration, nothing outside our folder. Sourced after common.sh.

RTMP_PORT=$(free_port)
RTMP_URL=rtmp://127.0.0.1:$RTMP_PORT/live/presenter
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
        listen 127.0.0.1:$RTMP_PORT;
        application live {
            live on;
            wait_key on;
        }
    }
}
CONF

start_nginx() {
    say "starting nginx with RTMP at port $RTMP_PORT"
    start nginx nginx -p "$WORK" -e "$WORK/nginx-error.log" -c "$WORK/nginx.conf"
    wait_until nginx "$PATIENCE" bash -c ">/dev/tcp/127.0.0.1/$RTMP_PORT"
}

# receive FILE: what nginx gives a viewer who tunes in now, for as long as we are on air.
receive() {
    start receiver ffmpeg -nostdin -y -i "$RTMP_URL" -t "$LENGTH" -c copy "$1"
    wait_for receiver $((LENGTH + PATIENCE))
}
