#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Unpacks Debian packages of any architecture into a folder, beside the system's, with all that they depend on:
# debian.sh FOLDER ARCHITECTURE... -- PACKAGE... [--alone PACKAGE...]
#
# Needs no root and changes nothing outside the folder: apt works with a state of its own, in which nothing is installed and
# the first ARCHITECTURE is the machine's. Packages come from the system's own sources. Those after --alone come without
# what they depend on. FOLDER/shlibs tells which package has which library, as dpkg-shlibdeps reads it.
set -eu
folder=$1
shift
wanted="$*"
[ "$(cat "$folder/packages" 2>/dev/null)" != "$wanted" ] || exit 0
echo "==> unpacking Debian packages into $folder (a minute or two): ${wanted#* -- }"
# An interrupted or older one is not added to.
rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
folder=$(cd "$folder" && pwd)
apt=$folder/apt
: >"$apt/status"
{
    echo "APT::Architecture \"$1\";"
    echo '#clear APT::Architectures;'
    while [ "$1" != -- ]; do
        echo "APT::Architectures:: \"$1\";"
        shift
    done
    shift
    cat <<END
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke;
END
} >"$apt/apt.conf"
# The packages up to --alone are those still in "$@" when it is found.
count=0
for word in "$@"; do
    [ "$word" != --alone ] || break
    count=$((count + 1))
done
export APT_CONFIG="$apt/apt.conf"
apt-get update -qq
# shellcheck disable=SC2046 # a list of words
apt-get install -qq -y --download-only $(printf '%s\n' "$@" | head -n "$count") >/dev/null
# shellcheck disable=SC2046
[ "$count" -eq $# ] || (cd "$apt/archives" && apt-get download -qq $(printf '%s\n' "$@" | tail -n +$((count + 2))))
for package in "$apt"/archives/*.deb; do
    # Without owners and set-user-id bits, which a folder of one's own has no use for.
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder" --no-same-owner --no-same-permissions \
        --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man
    dpkg-deb --ctrl-tarfile "$package" | tar -x -O ./shlibs 2>/dev/null >>"$folder/shlibs" || true
done
rm -rf "$apt"
echo "$wanted" >"$folder/packages"
