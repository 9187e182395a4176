#!/usr/bin/env bash
# A simulated Android phone: Android's shell (mksh) and busybox without any C library, behind a small adbd, loopback only.
#
#   phone.sh build FOLDER arm64|amd64
#   phone.sh start FOLDER PORT [PYTHON [DRIVER]]    in the foreground; PORT lies outside 5555-5585, which adb's server
#                                                   scans itself; DRIVER is a folder that makes the phone have a GPU
set -euo pipefail
command=$1 folder=$(mkdir -p "$2" && realpath "$2") root=$(realpath -m "$2")/root here=$(dirname "$(realpath "$0")")

cpuinfo() { # two cores as in phones of some years ago; runtimes crash when they see the host's x86 text
  local features='fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp'
  for core in 0 1; do
    printf 'processor\t: %d\nBogoMIPS\t: 38.40\nFeatures\t: %s\nCPU implementer\t: 0x41\n' "$core" "$features"
    printf 'CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
  done
}

build() {
  local arch=$1 abi=arm64-v8a name
  [ "$arch" = arm64 ] || abi=x86_64
  rm -rf "$root" "$folder/unpacked"
  mmdebstrap -q --variant=extract --mode=root --arch="$arch" --format=directory --include=mksh,busybox-static \
    bookworm "$folder/unpacked"
  mkdir -p "$root"/{etc/vulkan/icd.d,usr/lib/x86_64-linux-gnu}
  mkdir -p "$root"/{bin,proc,sys/devices/system/cpu,dev,etc,tmp,sdcard,data/local/tmp,system,mnt/small}
  cp "$folder"/unpacked/usr/lib/*-linux-musl/bin/mksh "$root/bin/sh"
  cp "$folder/unpacked/bin/busybox" "$root/bin/"
  rm -rf "$folder/unpacked"
  for name in $(chroot "$root" /bin/busybox --list); do
    [ -e "$root/bin/$name" ] || ln -s busybox "$root/bin/$name"
  done
  ln -s ../bin "$root/system/bin"
  printf '%s\n' root:x:0:0::/:/bin/sh shell:x:2000:2000::/:/bin/sh > "$root/etc/passwd"
  printf '%s\n' root:x:0: shell:x:2000: > "$root/etc/group"
  chmod 777 "$root/data/local/tmp"
  printf '%s\n' 'ro.product.model=simulated phone' "ro.product.cpu.abi=$abi" ro.build.version.release=14 \
    ro.build.version.sdk=34 ro.hardware=simulated > "$root/system/build.prop"
  cat > "$root/bin/getprop" <<'G'
#!/system/bin/sh
while IFS='=' read -r key value; do
  if [ -z "$1" ]; then print -r -- "[$key]: [$value]"; elif [ "$key" = "$1" ]; then print -r -- "$value"; exit 0; fi
done < /system/build.prop
[ -z "$1" ] || print -r -- "$2"
G
  chmod 755 "$root/bin/getprop" "$root"
  if [ "$arch" = arm64 ]; then
    echo 0-1 | tee "$root"/sys/devices/system/cpu/{possible,present} > /dev/null
    cpuinfo > "$folder/cpuinfo"
  fi
}

case $command in
  build) build "$3" ;;
  start)
    export root port=$3 python=${4:-python3} driver=${5:-} here cpuinfo=$folder/cpuinfo
    exec unshare --mount bash -euc '
      mount -t proc proc "$root/proc"
      [ ! -e "$cpuinfo" ] || mount --bind "$cpuinfo" "$root/proc/cpuinfo"
      mount --rbind /dev "$root/dev"
      mount -t tmpfs -o size=256k,mode=777 tmpfs "$root/mnt/small"
      if [ -n "$driver" ]; then
        mount --bind "$driver" "$root/usr/lib/x86_64-linux-gnu"
        mount --bind "$driver" "$root/etc/vulkan/icd.d"
      fi
      exec "$python" "$here/adbd.py" "$port" "$root"'
    ;;
esac
