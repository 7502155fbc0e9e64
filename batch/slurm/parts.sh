#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Submits a long video as an array of parts, and a job that joins them after it: parts.sh JOB.json PARTS [SBATCH_OPTION...]
#
# Prints the number of the job that joins. If a part fails for good, that one is cancelled.
set -euo pipefail
job=${1:?which job?}
count=${2:?into how many parts?}
shift 2
here=$(realpath "$(dirname "$0")")
folder=$(realpath "$job").parts
# Those of an earlier time, if it had more parts, would be rendered as well.
[ ! -d "$folder" ] || find "$folder" -name '[0-9]*.json' ! -name '*.*.json' -delete
"${LIPSYNC_TOOL:-lipsync}" split "$job" --parts "$count" --into "$folder" >/dev/null
find "$folder" -name '[0-9]*.json' ! -name '*.*.json' | sort -V >"$folder/parts.txt"
echo "$folder/join.json" >"$folder/join.txt"
if [ ! -s "$folder/parts.txt" ]; then # the video is there already
    exec sbatch --parsable --array=1 "$@" "$here/render.sbatch" "$folder/join.txt"
fi
array=$(sbatch --parsable --array="1-$(wc -l <"$folder/parts.txt")" "$@" "$here/render.sbatch" "$folder/parts.txt")
sbatch --parsable --array=1 --dependency="afterok:$array" --kill-on-invalid-dep=yes "$@" "$here/render.sbatch" "$folder/join.txt"
