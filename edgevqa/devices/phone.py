"""What a phone is, asked with its shell alone: the same facts as the runner's probe, where there is no Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgevqa.devices.base import Transport
from edgevqa.errors import DeviceError
from edgevqa.runtimes.runner import FEATURES

TIMEOUT_S = 60.0
QUESTIONS = """
echo "machine=$(uname -m)"
echo "kernel=$(uname -r)"
echo "model=$(getprop ro.product.model)"
echo "android=$(getprop ro.build.version.release)"
echo "abi=$(getprop ro.product.cpu.abi)"
echo "cpu=$(getprop ro.soc.manufacturer) $(getprop ro.soc.model)"
while read -r key value rest; do
  case "$key" in MemTotal:) echo "memory=$value" ;; esac
done < /proc/meminfo
while IFS=: read -r key value; do
  case "$key" in
    processor*) echo core= ;;
    Features* | flags*) echo "features=$value" ;;
    'model name'*) echo "cpu=$value" ;;
  esac
done < /proc/cpuinfo
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
  if [ -r "$file" ]; then echo "clock=$(cat "$file")"; fi
done
for file in /sys/class/thermal/thermal_zone*/type; do
  if [ -r "$file" ]; then echo "sensor=temperature $(cat "$file")"; fi
done
read -r up rest < /proc/uptime
echo "uptime=$up"
"""


def phone_probe(transport: Transport, name: str) -> Mapping[str, Any]:
    """Ask a phone what it is; see `runner.probe` for the keys. What a shell cannot tell is None.

    Raises:
        DeviceError: the phone cannot be reached, or gives no answers.
    """
    said = transport.run(["sh", "-c", QUESTIONS], {}, (), TIMEOUT_S).stdout
    answers: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        answers.setdefault(key, []).append(value.strip())

    def first(key: str) -> str | None:
        return next(filter(None, answers.get(key, ())), None)

    if first("machine") is None:
        raise DeviceError(f"{name} does not say what it is")
    cores, memory = len(answers.get("core", ())) or 1, first("memory")
    clocks = [float(value) / 1000 for value in answers.get("clock", ()) if value.isdecimal()]
    return {
        "ok": True,
        "machine": first("machine"),
        "system": f"Android {first('android') or 'unknown'}",
        "kernel": first("kernel"),
        "libc": f"bionic, {first('abi') or 'unknown ABI'}",
        "board": first("model"),
        "cpu_model": first("cpu"),
        "features": sorted(flag for flag in set((first("features") or "").split()) if FEATURES.fullmatch(flag)),
        "cores": cores,
        "core_mask": hex((1 << cores) - 1),
        "core_maximum_mhz": clocks or [None] * cores,
        "memory_mb": int(memory) * 1024 / 1e6 if memory and memory.isdecimal() else None,
        "bits": 64 if "64" in (first("machine") or "") else 32,
        "python": None,
        "numpy": None,
        "runtimes": {},
        "sensors": sorted(set(answers.get("sensor", ()))),
        "host": {"monotonic_s": float(first("uptime") or 0), "cores": cores},
    }
