#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Runs the fuzz targets: run.sh MINUTES [TARGET...]. Each gets that many minutes; README.md says what they are.
#
# NO_BUILD=1 runs what was built before. Fails where something was found.
set -eu
minutes=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=$root/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
built=$out/build/$host/release
# shellcheck disable=SC2012,SC2046 # names of Rust files, without spaces
[ $# -gt 0 ] || set -- $(ls "$here/targets" | sed 's/\.rs$//')

if [ -z "${NO_BUILD:-}" ]; then
    # What cargo-fuzz does without a sanitizer: coverage works with stable Rust. Build scripts are left as they are, for
    # a target is named.
    echo "==> building the fuzz targets (some minutes the first time)"
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0" \
        cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" --target "$host" --target-dir "$out/build"
    "$built/seeds" "$out/seeds"
fi

# For what the targets write, in memory where that can be had.
if [ -d /dev/shm ]; then TMPDIR=$(mktemp -d /dev/shm/lipsync-fuzz.XXXXXX); else TMPDIR=$(mktemp -d); fi
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM

# Real memory is limited by libFuzzer, which looks at it every second, and what is asked for at once by the shell. Graphs
# are prepared anew every time.
limit() {
    # shellcheck disable=SC3045 # dash and bash have it
    ulimit -v 8000000
    RUST_BACKTRACE=0 XDG_CACHE_HOME=/dev/null/none ORT_DYLIB_PATH=$root/target/onnxruntime/libonnxruntime.so \
        GST_REGISTRY=$out/registry.bin LIPSYNC_FUZZ_FIXTURES=$root/target/fixtures "$@"
}

# What an input does, in one line: where a panic or a fault was, or what libFuzzer says of it.
verdict() {
    limit "$built/$1" -timeout=10 -rss_limit_mb=4096 "$2" 2>&1 |
        sed -n -e 's/.*panicked at \(.*\):[0-9]*:$/panic at \1/p' -e 's/^fault in /fault in /p' \
            -e 's/^memory allocation of .* bytes failed/too much memory at once/p' \
            -e 's/^terminate called.*/&/p' -e 's/^SUMMARY: libFuzzer: //p' | head -1
}

found=0
for target in "$@"; do
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target" "$out/seeds/$target" "$out/logs"
    [ ! -d "$here/seeds/$target" ] || cp "$here/seeds/$target"/* "$out/seeds/$target/"
    log=$out/logs/$target.log
    # Those that read a few numbers from their input have no use for more of it.
    case $target in elements | frames | kernels | sounds) longest=512 ;; *) longest=32768 ;; esac
    echo "==> $target: $minutes minutes"
    # A process of its own for the cases, which a new one follows when it ends.
    limit "$built/$target" -fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 -max_total_time=$((minutes * 60)) \
        -timeout=10 -rss_limit_mb=4096 -max_len=$longest -len_control=0 -dict="$here/dictionary.txt" -print_final_stats=1 \
        -artifact_prefix="$out/artifacts/$target/" "$out/corpus/$target" "$out/seeds/$target" >"$log" 2>&1 || true
    grep -aE '^#[0-9]+: cov' "$log" | tail -1 || true
    # One of each kind will do: the same mistake may have been met hundreds of times.
    # shellcheck disable=SC2012 # the newest first; libFuzzer names them by their SHA-1
    ls -t "$out/artifacts/$target" | head -n 60 | while read -r name; do
        input=$out/artifacts/$target/$name
        said=$(verdict "$target" "$input")
        # What no longer fails has been mended, or came of a busy machine.
        if [ -z "$said" ]; then rm "$input"; else echo "$said	$input"; fi
    done | sort -u -t '	' -k 1,1 >"$out/$target.found"
    [ -s "$out/$target.found" ] || continue
    found=1
    echo "    found; to see one again: $built/$target INPUT"
    sed 's/^/    /' "$out/$target.found"
done
exit $found
