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
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  for file in clock=cpufreq/cpuinfo_max_freq capacity=cpu_capacity; do
    if [ -r "$cpu/${file#*=}" ]; then echo "${file%%=*}=${cpu##*/cpu} $(cat "$cpu/${file#*=}")"; fi
  done
done
for file in /sys/class/thermal/thermal_zone*/type; do
  if [ -r "$file" ]; then echo "sensor=temperature $(cat "$file")"; fi
done
read -r up rest < /proc/uptime
echo "uptime=$up"
echo "time=$(date +%s)"
df -kP . | while read -r disk blocks used free rest; do echo "free=$free"; done
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

    def number(key: str, unit: float = 1.0) -> float | None:
        value = next(filter(str.isdecimal, answers.get(key, ())), None)
        return None if value is None else float(value) * unit

    cores = len(answers.get("core", ())) or 1

    def of_each_core(key: str) -> list[float | None]:
        pairs = [answer.split() for answer in answers.get(key, ())]
        known = {int(pair[0]): float(pair[1]) for pair in pairs if len(pair) == 2 and all(map(str.isdecimal, pair))}
        return [known.get(core) for core in range(cores)]

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
        "core_maximum_mhz": [clock and clock / 1000 for clock in of_each_core("clock")],
        "core_capacity": of_each_core("capacity"),
        "memory_mb": number("memory", 1024 / 1e6),
        "bits": 64 if "64" in (first("machine") or "") else 32,
        "python": None,
        "numpy": None,
        "runtimes": {},
        "sensors": sorted(set(answers.get("sensor", ()))),
        "disk_free_mb": number("free", 1024 / 1e6),
        "wall_clock_s": number("time"),
        "host": {"monotonic_s": float(first("uptime") or 0), "cores": cores},
    }
