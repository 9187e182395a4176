"""Where a measurement was made: the machine, its software and its speed, stored once under their hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport
from edgevqa.devices.jobs import probe, run_job
from edgevqa.errors import DeviceError
from edgevqa.storage import dump_json, read_json, sha256_bytes, write_json

ENVIRONMENTS_NAME = "environments"


@dataclass(frozen=True)
class Environment:
    """A machine with one runtime; `facts` is what the id is the hash of, `path` the file that holds it."""

    id: str
    facts: Mapping[str, Any]
    path: Path

    @property
    def cores(self) -> int:
        """How many cores a process may use there."""
        return int(self.facts["core_mask"], 16).bit_count()

    def peak_gflops(self, target: Target, runtime: str, threads: int, transport: Transport) -> float | None:
        """GFLOP/s of large fp32 matrix products with as many threads; measured once and kept in the file.

        None where the device cannot say.
        """
        stored = read_json(self.path)
        key = f"{threads} threads on {target.core_mask or self.facts['core_mask']}"
        if key not in stored["peak_gflops"]:
            job = {"mode": "peak", "runtime": runtime, "threads": threads}
            try:
                stored["peak_gflops"][key] = run_job(transport, target, job, {}).values["gflops"]
            except DeviceError:
                return None
            write_json(self.path, stored)
        return float(stored["peak_gflops"][key])


def find_environment(target: Target, runtime: str, transport: Transport, results: Path) -> Environment:
    """Ask the device what it is, and store the answer in the results.

    Raises:
        DeviceError: the device cannot be reached or lacks the runtime.
        MissingExtra: this machine lacks the runtime.
    """
    found = probe(target, runtime, transport)
    facts = {
        key: value for key, value in found.items() if key not in ("ok", "host", "runtimes", "memory_mb", "sensors")
    }
    memory = found.get("memory_mb")
    facts |= {
        "memory_gb": None if memory is None else round(memory / 1000),
        "runtime": runtime,
        "runtime_version": found["runtimes"][runtime],
    }
    identity = sha256_bytes(dump_json(facts).encode())[:16]
    path = results / ENVIRONMENTS_NAME / f"{identity}.json"
    if not path.exists():
        write_json(path, {"id": identity, "environment": facts, "peak_gflops": {}})
    return Environment(identity, facts, path)
