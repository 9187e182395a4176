"""Where a measurement was made: the machine, its software and its speed, stored once under their hash."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport
from edgevqa.devices.emulated import find_emulator
from edgevqa.devices.instructions import qemu_version
from edgevqa.devices.jobs import probe, run_job
from edgevqa.devices.trial import try_delegate
from edgevqa.errors import DeviceError
from edgevqa.storage import dump_json, read_json, sha256_bytes, waiting_lock, write_json

ENVIRONMENTS_NAME = "environments"
PEAK_RUNS = 3
PASSING = ("ok", "host", "runtimes", "memory_mb", "sensors", "disk_free_mb", "wall_clock_s", "delegates")
"""Keys of a probe that are not what the machine is, or that vary a little from one start to the next."""


@dataclass(frozen=True)
class Environment:
    """A machine with one runtime; `facts` is what the id is the hash of, `path` the file that holds them."""

    id: str
    facts: Mapping[str, Any]
    path: Path

    @property
    def cores(self) -> int:
        """How many cores a process may use there."""
        return int(self.facts["core_mask"], 16).bit_count()

    def save(self) -> None:
        """Write the file unless it is there; raises EnvironmentFailure when it cannot be written."""
        if not self.path.exists():
            write_json(self.path, {"id": self.id, "environment": dict(self.facts), "peak_gflops": {}})

    def peak_gflops(self, target: Target, runtime: str, threads: int, transport: Transport) -> float | None:
        """GFLOP/s of large fp32 matrix products with as many threads: the best that was ever measured.

        Another process may slow such a product down, and nothing makes it faster than the machine is. So it is measured
        in `PEAK_RUNS` processes at every call, and the file keeps the best of these and of all calls before.

        None where the device cannot say.
        """
        key = f"{threads} threads on {target.core_mask or self.facts['core_mask']}"
        job = {"mode": "peak", "runtime": runtime, "threads": threads}
        found: list[float] = []
        with contextlib.suppress(DeviceError):
            found.extend(run_job(transport, target, job, {}).values["gflops"] for _ in range(PEAK_RUNS))
        with waiting_lock(self.path.parents[1]):  # two equal devices share the file
            stored = read_json(self.path)
            found.extend(value for name, value in stored["peak_gflops"].items() if name == key)
            if not found:
                return None
            stored["peak_gflops"][key] = max(found)
            write_json(self.path, stored)
        return float(max(found))


def find_environment(target: Target, runtime: str, transport: Transport, results: Path) -> Environment:
    """Ask the device what it is; `Environment.save` stores the answer in the results.

    Raises:
        DeviceError: the device cannot be reached or lacks the runtime, or what the target's delegate needs.
        MissingExtra: this machine lacks the runtime.
    """
    found = probe(target, runtime, transport)
    more = {"runtime": runtime, "runtime_version": found["runtimes"][runtime]}
    if target.delegate != "cpu":
        try:
            more["adapter"] = try_delegate(target, runtime, transport)
        except DeviceError as error:
            raise DeviceError(f"{error}; --allow-fallback measures what runs instead, and says so") from error
    if target.kind == "emulated":
        more["emulator"] = f"qemu {qemu_version(find_emulator())}"
    return environment_of(found, more, results)


def environment_of(found: Mapping[str, Any], more: Mapping[str, Any], results: Path) -> Environment:
    """The environment that a probe found, with `more` about what runs there."""
    facts = {key: value for key, value in found.items() if key not in PASSING}
    memory = found.get("memory_mb")
    facts |= {"memory_gb": None if memory is None else round(memory / 1000), **more}
    identity = sha256_bytes(dump_json(facts).encode())[:16]
    return Environment(identity, facts, results / ENVIRONMENTS_NAME / f"{identity}.json")
