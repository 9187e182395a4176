#!/bin/sh
# Build the runner for devices without Python.
#
#   build.sh OUTPUT [FLAG...]    with the C compiler in $CC: gcc for this machine, aarch64-linux-gnu-gcc for 64-bit ARM
set -eu
here=$(dirname "$0")
output=$1
shift
exec "${CC:-gcc}" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror "$@" -o "$output" "$here"/*.c -ldl -lm
