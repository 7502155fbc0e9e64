#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Puts ONNX Runtime's library into a folder: fetch-onnxruntime.sh FOLDER VERSION [PACKAGE [PLATFORM]]
#
# The wheels on PyPI hold plain shared libraries that need nothing of Python (MIT licence, glibc 2.28 or newer). PACKAGE is
# onnxruntime (the default), or a build with other providers: onnxruntime-openvino, onnxruntime-gpu. Theirs lie in libraries
# of their own, which find each other where they lie together. PLATFORM, manylinux_2_28_aarch64 for example, is another one than
# this machine's.
#
# Only wheels whose SHA-256 is in onnxruntime.lock, beside this script, are used.
set -eu
folder=$1
version=$2
package=${3:-onnxruntime}
platform=${4:-}
library=$folder/libonnxruntime.so
lock=$(dirname "$0")/onnxruntime.lock
[ -e "$library" ] && [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
echo "==> fetching $package $version${platform:+ for $platform}"
mkdir -p "$folder"
wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
# The lines of that package, up to one that does not go on.
awk -v wanted="$package==$version" '$1 == wanted { found = 1 } found { print } found && !/\\$/ { exit }' "$lock" >"$wheel/lock"
if [ ! -s "$wheel/lock" ]; then
    echo "$package $version: its SHA-256 is not known. Add it to $lock, whose first lines say how" >&2
    exit 1
fi
# Isolated (-I): Python would run a pip.py or zipfile.py in the current folder.
if ! python3 -I -m pip download --quiet --no-deps --only-binary=:all: --require-hashes ${platform:+--platform "$platform"} \
    --dest "$wheel" -r "$wheel/lock" 2>"$wheel/said"; then
    if grep -q 'DO NOT MATCH THE HASHES' "$wheel/said"; then
        echo "$package $version: what was downloaded is not the file that $lock knows (its SHA-256 differs), and is not used." \
            "Try again through another network or mirror" >&2
    else
        cat "$wheel/said" >&2
    fi
    exit 1
fi
python3 -I -m zipfile -e "$wheel"/*.whl "$wheel/content"
cp "$wheel/content/onnxruntime/LICENSE" "$wheel/content/onnxruntime/ThirdPartyNotices.txt" "$folder/"
libraries=$wheel/content/onnxruntime/capi
rm "$libraries"/onnxruntime_pybind11_state.*
mv "$libraries/libonnxruntime.so.$version" "$wheel/"
for provider in "$libraries"/*.so*; do
    [ ! -e "$provider" ] || cp "$provider" "$folder/"
done
cp "$wheel/libonnxruntime.so.$version" "$library.new"
mv "$library.new" "$library"
echo "$version" > "$folder/version"
