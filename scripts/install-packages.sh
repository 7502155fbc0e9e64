#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Installs the named Debian packages that are missing; says so, and how to do it by hand where it may not.
set -eu
missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "==> installing Debian packages (a minute or two):$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null || { echo "as root, run: apt-get install --no-install-recommends$missing" >&2; exit 1; }
fi
# Errors and warnings are shown; hundreds of lines about each package are not.
$as_root apt-get update -qq >/dev/null
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
