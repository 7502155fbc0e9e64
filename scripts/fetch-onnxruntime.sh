#!/bin/sh
# Puts ONNX Runtime's library into a folder: fetch-onnxruntime.sh FOLDER VERSION [PACKAGE]
#
# The wheels on PyPI hold plain shared libraries that need nothing of Python (MIT licence, glibc 2.28 or newer). PACKAGE is
# onnxruntime (the default), or a build with other providers: onnxruntime-openvino, onnxruntime-gpu. Theirs lie in libraries
# of their own, which find each other where they lie together.
set -eu
folder=$1
version=$2
package=${3:-onnxruntime}
library=$folder/libonnxruntime.so
[ -e "$library" ] && [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
echo "==> fetching $package $version"
mkdir -p "$folder"
wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheel" "$package==$version"
python3 -m zipfile -e "$wheel"/*.whl "$wheel/content"
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
