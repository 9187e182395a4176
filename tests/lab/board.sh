#!/usr/bin/env bash
# A simulated Linux board: a real user space of another (or this) architecture behind a real sshd, loopback only.
#
#   board.sh build FOLDER arm64|amd64    about 25 s; FOLDER/root can be used by `kind = "emulated"`, too
#   board.sh start FOLDER PORT [CPU]     sshd in the foreground, in mount and name spaces of its own; CPU is cortex-a76
#                                        (a Raspberry Pi 5) or cortex-a72 (a Raspberry Pi 4)
#
# Packages are only unpacked, never configured: their scripts are what takes minutes under qemu. Where mounts or binfmt are
# refused, or with EDGEVQA_LAB_PROOT=1, an arm64 board runs under proot, without privileges; whoever starts it is `pi`.
set -euo pipefail
command=$1 folder=$(mkdir -p "$2" && realpath "$2") root=$(realpath -m "$2")/root here=$(dirname "$(realpath "$0")")

model() { case $1 in cortex-a72) echo 'Raspberry Pi 4 Model B Rev 1.4' ;; *) echo 'Raspberry Pi 5 Model B Rev 1.0' ;; esac }

cpuinfo() { # with two cores; runtimes crash when they see the host's x86 text, or another processor's
  local features part variant revision
  case $1 in
    cortex-a72) features='fp asimd evtstrm crc32 cpuid' part=0xd08 variant=0x0 revision=3 ;;
    cortex-a76) part=0xd0b variant=0x4 revision=1
      features='fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp' ;;
  esac
  for core in 0 1; do
    printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\n' "$core" "$features"
    printf 'CPU architecture: 8\nCPU variant\t: %s\nCPU part\t: %s\nCPU revision\t: %d\n\n' "$variant" "$part" "$revision"
  done
  printf 'Model\t\t: %s\n' "$(model "$1")"
}

build() {
  local arch=$1 options=() name mode=root
  [ "$(id -u)" = 0 ] || mode=chrootless
  for name in man doc locale info lintian perl zoneinfo i18n; do
    options+=(--dpkgopt="path-exclude=/usr/share/$name/*")
  done
  rm -rf "$root"
  mmdebstrap -q --variant=extract --mode="$mode" --arch="$arch" --format=directory "${options[@]}" \
    --dpkgopt='path-exclude=/usr/lib/*/perl*' --dpkgopt='path-exclude=/usr/lib/*/gconv/*' \
    --include=python3.11-minimal,libpython3.11-stdlib,openssh-server,openssh-sftp-server,bash,dash,coreutils \
    --include=findutils,grep,util-linux,procps,libstdc++6,zlib1g,libfaketime bookworm "$root"
  cd "$root"
  ln -sf python3.11 usr/bin/python3
  printf '%s\n' root:x:0:0::/root:/bin/bash sshd:x:110:65534::/run/sshd:/usr/sbin/nologin \
    pi:x:1000:1000::/home/pi:/bin/bash > etc/passwd
  printf '%s\n' root:x:0: pi:x:1000: nogroup:x:65534: > etc/group
  printf '%s\n' 'passwd: files' 'group: files' 'shadow: files' 'hosts: files' > etc/nsswitch.conf
  printf '%s\n' 'root:*:19000::::::' 'pi:*:19000::::::' 'sshd:!:19000::::::' > etc/shadow
  chmod 600 etc/shadow
  mkdir -p run/sshd home/pi/.ssh proc dev tmp mnt/small mnt/readonly \
    sys/devices/system/cpu sys/class/thermal/thermal_zone0 sys/firmware/devicetree/base
  chmod 1777 tmp
  for name in possible present online; do echo 0-1 > "sys/devices/system/cpu/$name"; done
  echo 48312 > sys/class/thermal/thermal_zone0/temp
  echo cpu-thermal > sys/class/thermal/thermal_zone0/type
  if [ "$arch" = arm64 ]; then
    printf '%s\0' "$(model cortex-a76)" > sys/firmware/devicetree/base/model
  fi
  rm -f "$folder"/key "$folder"/key.pub etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C board -f "$folder/key"
  ssh-keygen -q -t ed25519 -N '' -C board -f etc/ssh/ssh_host_ed25519_key
  cp "$folder/key.pub" home/pi/.ssh/authorized_keys
  echo 'echo "a login may say anything: EDGEVQA-DONE 0"' > home/pi/.bashrc
  [ "$mode" != root ] || chown -R 1000:1000 home/pi
  chmod 700 home/pi/.ssh
  printf '%s\n' 'ListenAddress 127.0.0.1' 'UsePAM no' 'PasswordAuthentication no' 'MaxStartups 50' \
    'Subsystem sftp /usr/lib/openssh/sftp-server' > etc/ssh/sshd_config
  # as the packages' scripts would do: without it, every Python compiles what it imports, slowly under qemu
  ! python3.11 -c '' 2> /dev/null || python3.11 -m compileall -q -j 2 -s "$root" -p / usr/lib/python3.11 > /dev/null || true
}

start() {
  export folder root port=$1 QEMU_CPU=${2:-cortex-a76}
  # sshd clears the environment, so what qemu is to emulate must stand in its settings
  export settings="-D -e -p $port -o SetEnv=QEMU_CPU=$QEMU_CPU"
  if [ -e "$root/lib/ld-linux-aarch64.so.1" ]; then
    cpuinfo "$QEMU_CPU" > "$folder/cpuinfo-$port"
    printf '%s\0' "$(model "$QEMU_CPU")" > "$folder/model-$port"
    if [ "${EDGEVQA_LAB_PROOT:-0}" = 1 ] || [ -e "$folder/proot" ]; then start_without_mounts; fi
  fi
  exec unshare --mount --uts bash -euc '
    hostname simulated-board
    mount -t proc proc "$root/proc"
    if [ -e "$folder/cpuinfo-$port" ]; then
      mount --bind "$folder/cpuinfo-$port" "$root/proc/cpuinfo"
      mount --bind "$folder/model-$port" "$root/sys/firmware/devicetree/base/model"
    fi
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o size=256k,uid=1000,gid=1000 tmpfs "$root/mnt/small"
    mount -t tmpfs -o ro,size=4k tmpfs "$root/mnt/readonly"
    exec chroot "$root" /usr/sbin/sshd $settings'
}

start_without_mounts() {
  local me
  me=$(id -u):$(id -g)
  sed "s/^pi:x:1000:1000:/pi:x:$me:/" "$root/etc/passwd" > "$folder/passwd"
  # proot leaves a file behind when it is killed
  rm -rf "$folder/proot-files" && mkdir "$folder/proot-files"
  # shellcheck disable=SC2086
  PROOT_TMP_DIR=$folder/proot-files exec python3 "$here/older_calls.py" proot -q qemu-aarch64-static -r "$root" -b /dev -b /proc \
    -b "$folder/cpuinfo-$port:/proc/cpuinfo" -b "$folder/model-$port:/sys/firmware/devicetree/base/model" \
    -b "$folder/passwd:/etc/passwd" -w / /usr/sbin/sshd $settings -o StrictModes=no
}

case $command in
  build) build "$3" ;;
  start) start "$3" "${4:-}" ;;
esac
