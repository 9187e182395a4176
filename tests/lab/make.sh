#!/usr/bin/env bash
# Install what the simulated devices need and build them, each once for each content of its script.
# Where that is not possible it says why and ends well: the tests that need a device then skip with that reason.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
lab=${EDGEVQA_LAB:-${EDGEVQA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edgevqa}/lab}
binfmt=/proc/sys/fs/binfmt_misc
mkdir -p "$lab"
lab=$(realpath "$lab")
exec 9> "$lab/.lock"
flock 9

give_up() {
  echo "no simulated devices: $1" | tee "$lab/reason" >&2
  exit 0
}

rm -f "$lab/reason"
missing=()
for pair in mmdebstrap:mmdebstrap qemu-aarch64-static:qemu-user-static ssh:openssh-client adb:adb \
  qemu-aarch64:qemu-user proot:proot gcc:gcc aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu; do
  command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
done
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -e /usr/aarch64-linux-gnu/lib/libstdc++.so.6 ] || missing+=(libc6-dev-arm64-cross libstdc++6-arm64-cross)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || give_up "installing ${missing[*]} needs root"
  command -v apt-get > /dev/null || give_up "there is no apt-get to install ${missing[*]}"
  echo "Installing ${missing[*]} for the simulated devices."
  export DEBIAN_FRONTEND=noninteractive
  { timeout 300 apt-get update -qq && timeout 600 apt-get install -y -qq --no-install-recommends "${missing[@]}"; } > "$lab/apt.log" 2>&1 \
    || give_up "apt-get cannot install ${missing[*]}, see $lab/apt.log"
fi
# an ARM board does without privileges: under proot, which is slower and knows no mounts
proot=1 devices=(board-arm64)
if [ "${EDGEVQA_LAB_PROOT:-0}" = 1 ] || ! unshare --mount true 2> /dev/null; then
  echo "of the simulated devices only the ARM board: mounts are refused here" | tee "$lab/reason" >&2
else
  devices+=(board-amd64 phone-amd64)
  mountpoint -q "$binfmt" || mount -t binfmt_misc binfmt_misc "$binfmt" 2> /dev/null || true
  if [ -e "$binfmt/qemu-aarch64" ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > "$binfmt/register" 2> /dev/null; then
    proot=0
    devices+=(phone-arm64)
  fi
fi
for device in "${devices[@]}" swiftshader; do
  folder=$lab/$device script=$here/${device%-*}.sh
  stamp=$(sha256sum "$script" | cut -c1-16)
  [ "$(cat "$folder/stamp" 2> /dev/null)" != "$stamp" ] || continue
  echo "Building the simulated $device, half a minute at most."
  rm -rf "$folder"
  mkdir -p "$folder"
  if ! timeout 900 "$script" build "$folder" "${device#*-}" > "$folder/build.log" 2>&1; then
    if [ "$device" = swiftshader ]; then # the other devices do without
      echo "no simulated GPU: SwiftShader cannot be had, see $folder/build.log" | tee "$folder/reason" >&2
      continue
    fi
    give_up "$device cannot be built, see $folder/build.log"
  fi
  echo "$stamp" > "$folder/stamp"
done
rm -f "$lab/board-arm64/proot"
[ $proot = 0 ] || touch "$lab/board-arm64/proot"
echo "Simulated devices: $lab"
