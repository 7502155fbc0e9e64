#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Fails if the disk has no room for what is about to be downloaded: room.sh FOLDER GB WHAT
set -eu
place=$1
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1e6) }')
if [ "${free:-$2}" -lt "$2" ]; then
    echo "$1: only $free GB are free, and $3 needs $2. Make room, or set WORK=folder to another disk" >&2
    exit 1
fi
