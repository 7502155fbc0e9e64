#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Builds for ARM64, tests the kernels under emulation, and has the plugin paint the same pictures there and here: test.sh [SECONDS]
#
# SECONDS of the sample recording are spoken, 1 unless said otherwise. Needs what prepare.sh fetches, target/plugin and target/venv.
. "$(dirname "$0")/common.sh"
SPOKEN=${1:-1}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

say "building the core and the plugin for ARM64 (some minutes the first time)"
"$HERE/cargo.sh" build --quiet --locked -p gst-plugin-lipsync
"$HERE/cargo.sh" test --quiet --locked -p lipsync-core --lib --no-run

# On a processor with all that qemu knows.
say "testing the core"
"$HERE/cargo.sh" test --locked -p lipsync-core --lib
# On one with dot products of 8 bits but without products of 8-bit matrices (i8mm), and on one with neither.
for cpu in cortex-a76 cortex-a72; do
    say "testing the kernels on $cpu"
    QEMU_CPU=$cpu "$HERE/cargo.sh" test --locked -p lipsync-core --lib kernels::
done

# All that a pipeline needs, and no more: under emulation it takes long to look at every plugin.
PIPELINE=(coreelements wavparse)
mkdir "$WORK/plugins"
for plugin in "${PIPELINE[@]}"; do
    ln -s "$SYSROOT/usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgst$plugin.so" "$WORK/plugins/"
done
ln -s "$ARM64/build/$TARGET/debug/libgstlipsync.so" "$WORK/plugins/"

# The recording, cut short.
"$ROOT/target/venv/bin/python" -I "$HERE/frames.py" cut "$ROOT/examples/sample.wav" "$SPOKEN" "$WORK/sound.wav"

# paint here|there FORMAT PRECISION FILE: the frames, one after the other.
paint() {
    # One worker: with more, a frame takes longer, and emulated float32 comes near the 15 seconds that it has.
    local launch=(gst-launch-1.0 -q filesrc "location=$WORK/sound.wav" ! wavparse
        ! lipsync avatar=iris n-threads=1 "precision=$3" ! "video/x-raw,format=$2" ! filesink "location=$4")
    export LIPSYNC_AVATAR_PATH=$ROOT/models XDG_CACHE_HOME=$WORK/cache-$1 GST_REGISTRY=$WORK/registry-$1.bin
    if [ "$1" = here ]; then
        GST_PLUGIN_PATH=$ROOT/target/plugin ORT_DYLIB_PATH=$ROOT/target/onnxruntime/libonnxruntime.so "${launch[@]}"
    else
        # Its helper that looks at plugins is a program for ARM64 too, which this system could not start.
        GST_PLUGIN_SYSTEM_PATH=$WORK/plugins GST_REGISTRY_FORK=no ORT_DYLIB_PATH=$ARM64/onnxruntime/libonnxruntime.so \
            qemu-aarch64 "$SYSROOT/usr/bin/${launch[0]}" "${launch[@]:1}"
    fi
}

# compare PRECISION FORMAT LEVELS: what is painted here and there may differ by LEVELS in each byte.
compare() {
    say "painting $SPOKEN s in $1, $2, here and on ARM64 ($QEMU_CPU)"
    paint here "$2" "$1" "$WORK/here.raw"
    paint there "$2" "$1" "$WORK/there.raw"
    "$ROOT/target/venv/bin/python" -I "$HERE/frames.py" compare "$WORK/here.raw" "$WORK/there.raw" "$3"
}

# Whole numbers are the same everywhere: by products of matrices, by dot products, and where ONNX Runtime has to do without
# our kernels.
compare int8 RGB 0
QEMU_CPU=cortex-a76 compare int8 RGB 0
QEMU_CPU=cortex-a72 compare int8 RGB 0
compare int8 I420 0
# Floating point is summed in another order.
compare fp32 RGB 1
say "all is well on ARM64"
