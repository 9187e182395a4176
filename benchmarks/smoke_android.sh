#!/bin/sh
# Does everything work with the phone on this desk? For people with hardware; some minutes.
#
#   benchmarks/smoke_android.sh [TARGET]        a profile, by name or file; android-cpu by default
#
# It says OK or FAILED for each step and keeps what each printed. The exit code is 1 when any step failed. Settings:
# EDGEVQA is the command (edgevqa), WORK the folder for all files (./smoke-android), PROTOCOL how long is measured (smoke).
# It has been tried against simulated phones only.
set -u
target=${1:-android-cpu}
edgevqa=${EDGEVQA:-edgevqa}
protocol=${PROTOCOL:-smoke}
case $target in
  *.toml) target=$(realpath "$target") || exit 2 ;;
esac
mkdir -p "${WORK:-smoke-android}" && cd "${WORK:-smoke-android}" || exit 2
failed=0

# step NAME "CODES" COMMAND...: run a command whose exit code should be one of CODES
step() {
  log=$1.log what=$1 codes=$2
  shift 2
  "$@" > "$log" 2>&1
  code=$?
  for wanted in $codes; do
    if [ "$code" -eq "$wanted" ]; then
      echo "OK      $what"
      return
    fi
  done
  echo "FAILED  $what: exit code $code: $(tail -n 1 "$log")"
  failed=1
}

# key NAME: a text in the profile
key() {
  $edgevqa targets show "$target" --json | sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p"
}

name=$(key name) machine=$(key machine)
[ -n "$name" ] || { echo "there is no profile $target; see: edgevqa targets" >&2; exit 2; }
# shellcheck disable=SC2086  # the command may be several words
{
  step bundle 0 $edgevqa device bundle --machine "${machine:-aarch64}"
  step setup 0 $edgevqa device setup --target "$target"
  step doctor 0 $edgevqa doctor --target "$target"
  step export 0 $edgevqa export --width 1/4 --depth 1/3 --format onnx,tflite --precision fp32,int8
  step bench 0 $edgevqa bench --target "$target" --protocol "$protocol"
  # a smoke run never lies on a front: then the table is written all the same, and the exit code is 4
  if [ "$protocol" = smoke ]; then codes="0 4"; else codes=0; fi
  step pareto "$codes" $edgevqa pareto --target "$name"
  step table 0 test -s results/pareto.csv
  step clean 0 $edgevqa device clean --target "$target"
}
exit $failed
