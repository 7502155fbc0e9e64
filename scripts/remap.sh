# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash disable=SC2034
# Gives the folders that programs are compiled in the same names on every machine. Sourced, in the repository.
#
# Programs name their sources in panics and line tables: this checkout and the crates, wherever cargo keeps them. REMAP is
# what rustc is to be told; C compilers are told by variables.

CRATES=${CARGO_HOME:-$HOME/.cargo}
REMAP=("--remap-path-prefix=$CRATES=/usr/src/cargo" "--remap-path-prefix=$PWD=/usr/src/gst-plugin-lipsync")
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$CRATES=/usr/src/cargo -ffile-prefix-map=$PWD=/usr/src/gst-plugin-lipsync"
# libjpeg-turbo puts the day on which it was compiled into its version. Of any day in particular, programs would differ after
# a build that takes it from an earlier one.
export SOURCE_DATE_EPOCH=0
