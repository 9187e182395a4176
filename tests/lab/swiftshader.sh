#!/usr/bin/env bash
# A GPU made in software: SwiftShader and a Vulkan loader, taken out of Debian's Chromium without installing it.
#
#   swiftshader.sh build FOLDER    about 3 s and 32 MB to download; x86-64 only, for there alone Chromium has it
set -euo pipefail
[ "$1" = build ]
folder=$(mkdir -p "$2" && realpath "$2")
names=(libvk_swiftshader.so libvulkan.so.1 vk_swiftshader_icd.json)
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "Debian has SwiftShader for amd64 only" >&2; exit 1; }

take() { # out of one package; which of the two holds them differs between releases
  local package
  rm -f "$folder"/*.deb
  (cd "$folder" && timeout 300 apt-get download -qq -o APT::Sandbox::User=root "$1") || return 1
  package=$(echo "$folder"/*.deb)
  dpkg-deb --fsys-tarfile "$package" \
    | tar -x -C "$folder" --strip-components=4 "${names[@]/#/./usr/lib/chromium/}" 2> /dev/null
}

if ! take chromium-common && ! take chromium; then
  timeout 300 apt-get update -qq
  take chromium-common || take chromium
fi
rm -f "$folder"/*.deb
cd "$folder"
ls "${names[@]}"
