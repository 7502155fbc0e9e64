#!/bin/sh
# Puts ONNX Runtime's library into a folder: fetch-onnxruntime.sh FOLDER VERSION
#
# The wheel on PyPI holds a plain shared library that needs nothing of Python (MIT licence, glibc 2.28 or newer).
set -eu
folder=$1
version=$2
library=$folder/libonnxruntime.so
[ -e "$library" ] && [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
echo "==> fetching ONNX Runtime $version (35 MB)"
mkdir -p "$folder"
wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheel" "onnxruntime==$version"
python3 -m zipfile -e "$wheel"/*.whl "$wheel/content"
cp "$wheel/content/onnxruntime/LICENSE" "$wheel/content/onnxruntime/ThirdPartyNotices.txt" "$folder/"
cp "$wheel/content/onnxruntime/capi/libonnxruntime.so.$version" "$library.new"
mv "$library.new" "$library"
echo "$version" > "$folder/version"
