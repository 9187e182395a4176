#!/usr/bin/env bash
# A simulated Linux board: a real user space of another (or this) architecture behind a real sshd, loopback only.
#
#   board.sh build FOLDER arm64|amd64    about 25 s; FOLDER/root can be used by `kind = "emulated"`, too
#   board.sh start FOLDER PORT           sshd in the foreground, in mount and name spaces of its own
#
# Packages are only unpacked, never configured: their scripts are what takes minutes under qemu.
set -euo pipefail
cpu=cortex-a76
command=$1 folder=$(mkdir -p "$2" && realpath "$2") root=$(realpath -m "$2")/root

cpuinfo() { # a Raspberry Pi 5 with two cores; runtimes crash when they see the host's x86 text
  local features='fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp'
  for core in 0 1; do
    printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\n' "$core" "$features"
    printf 'CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
  done
  printf 'Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n'
}

build() {
  local arch=$1 options=() name
  for name in man doc locale info lintian perl zoneinfo i18n; do
    options+=(--dpkgopt="path-exclude=/usr/share/$name/*")
  done
  rm -rf "$root"
  mmdebstrap -q --variant=extract --mode=root --arch="$arch" --format=directory "${options[@]}" \
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
    printf 'Raspberry Pi 5 Model B Rev 1.0\0' > sys/firmware/devicetree/base/model
    cpuinfo > proc/cpuinfo
  fi
  rm -f "$folder"/key "$folder"/key.pub etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C board -f "$folder/key"
  ssh-keygen -q -t ed25519 -N '' -C board -f etc/ssh/ssh_host_ed25519_key
  cp "$folder/key.pub" home/pi/.ssh/authorized_keys
  echo 'echo "a login may say anything: EDGEVQA-DONE 0"' > home/pi/.bashrc
  chown -R 1000:1000 home/pi
  chmod 700 home/pi/.ssh
  # sshd clears the environment, so what qemu is to emulate must stand in its settings
  printf '%s\n' 'ListenAddress 127.0.0.1' 'UsePAM no' 'PasswordAuthentication no' 'MaxStartups 50' \
    'Subsystem sftp /usr/lib/openssh/sftp-server' "SetEnv QEMU_CPU=$cpu" > etc/ssh/sshd_config
}

start() {
  export folder root port=$1 QEMU_CPU=$cpu
  exec unshare --mount --uts bash -euc '
    hostname simulated-board
    [ ! -e "$root/proc/cpuinfo" ] || cp "$root/proc/cpuinfo" "$folder/cpuinfo"
    mount -t proc proc "$root/proc"
    [ ! -e "$folder/cpuinfo" ] || mount --bind "$folder/cpuinfo" "$root/proc/cpuinfo"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o size=256k,uid=1000,gid=1000 tmpfs "$root/mnt/small"
    mount -t tmpfs -o ro,size=4k tmpfs "$root/mnt/readonly"
    exec chroot "$root" /usr/sbin/sshd -D -e -p "$port"'
}

case $command in
  build) build "$3" ;;
  start) start "$3" ;;
esac
