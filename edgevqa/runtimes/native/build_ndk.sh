#!/bin/sh
# Build the runner against Android's own C library (bionic), so that it can open a phone's GPU drivers. NOT RUN YET:
# there was no NDK and no phone where this was written; only the shell below has been tried, with a stand-in compiler.
#
#   ANDROID_NDK=/path/to/android-ndk build_ndk.sh OUTPUT [FLAG...]
#
# It makes a program for 64-bit ARM and Android 10 (API 29) or newer; ABI=x86_64 is for the emulator, API another level.
# What it opens must be built for Android, too, and lie beside it: libonnxruntime.so of the AAR of ONNX Runtime,
# libLiteRt.so of LiteRT's. The libraries in Python's wheels are for Linux and cannot be loaded there.
set -eu
here=$(dirname "$0")
ndk=${ANDROID_NDK:-${ANDROID_NDK_HOME:-}}
case ${ABI:-arm64-v8a} in
  arm64-v8a) machine=aarch64 ;;
  x86_64) machine=x86_64 ;;
  *)
    echo "there is no runner for the ABI $ABI, only for arm64-v8a and x86_64" >&2
    exit 2
    ;;
esac
for compiler in "$ndk"/toolchains/llvm/prebuilt/*/bin/"$machine-linux-android${API:-29}-clang"; do
  # newer phones have pages of 16 kB
  [ ! -x "$compiler" ] || CC=$compiler exec sh "$here/build.sh" "$@" -pie -fPIE -Wl,-z,max-page-size=16384
done
echo "there is no NDK in '$ndk'; let ANDROID_NDK name its folder, see https://developer.android.com/ndk/downloads" >&2
exit 3
