#!/bin/sh
# Try edgevqa on a real board behind ssh: a line for each step, OK or FAILED, and exit code 1 if one failed.
#
#   benchmarks/smoke_raspberry_pi.sh pi@192.168.1.20                    # a Raspberry Pi 5
#   benchmarks/smoke_raspberry_pi.sh pi@192.168.1.21 raspberry-pi-4     # or another profile: arm64, jetson
#
# EDGEVQA names the command if it is not `edgevqa`. Everything here goes into a temporary folder, which stays when a step
# failed; everything there goes into .edgevqa in the home, which the last step removes. Takes some minutes.
set -u
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit 2
fi
host=$1 profile=${2:-raspberry-pi-5} edgevqa=${EDGEVQA:-edgevqa} failed=0
work=$(mktemp -d) || exit 1
export EDGEVQA_CONFIG="$work/config"
cd "$work" || exit 1

# NAME CODES COMMAND...: run a step; CODES are the exit codes that count as well done
step() {
  name=$1 codes=$2
  shift 2
  "$@" > "$work/$name.log" 2>&1 < /dev/null
  code=$?
  case " $codes " in
    *" $code "*) printf 'OK      %s\n' "$name" ;;
    *)
      failed=$((failed + 1))
      printf 'FAILED  %s: exit code %s: %s\n' "$name" "$code" "$(tail -n 1 "$work/$name.log")"
      ;;
  esac
}

step profile 0 $edgevqa targets new smoke --from "$profile" --host "$host"
step reach "0 3" $edgevqa doctor --target smoke
grep -q '^machine' "$work/reach.log" || { cat "$work/reach.log" >&2; echo "FAILED  the board cannot be reached"; exit 1; }
step setup 0 $edgevqa device setup --target smoke
step doctor 0 $edgevqa doctor --target smoke
step export 0 $edgevqa export --width 1/4 --depth 1
step bench 0 $edgevqa bench --target smoke --protocol smoke
step again 0 $edgevqa bench --target smoke --protocol smoke
# rows of the smoke protocol lie on no front, so that there is no front to show
step pareto "0 4" $edgevqa pareto --target smoke
step clean 0 $edgevqa device clean --target smoke
echo
cat "$work/doctor.log" "$work/bench.log"
if [ "$failed" -gt 0 ]; then
  echo "FAILED  $failed steps; what they said is in $work"
  exit 1
fi
rm -rf "$work"
echo "OK      all steps"
