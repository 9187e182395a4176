"""A target's check-up: what it is, which runtimes it has and lacks, and what would disturb a measurement now."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport, open_transport
from edgevqa.devices.benchmark_model import NAME, find_tool
from edgevqa.devices.jobs import probe
from edgevqa.devices.targets import load_target
from edgevqa.devices.trial import try_delegate
from edgevqa.errors import EnvironmentFailure
from edgevqa.measure.host import Finding, HostState, assess
from edgevqa.runtimes import get_delegates, get_runtime

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class CheckUp:
    """What was found.

    Attributes:
        target: the profile's name.
        facts: what the device is and has, by name.
        findings: what would disturb a measurement, as `assess` says it.
        missing: for each runtime of the profile that is not there, how to get it; expected features that lack.
    """

    target: str
    facts: Mapping[str, str]
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether everything is there and no fault was seen; what is unknown is no fault."""
        return not self.missing and not any(finding.level == "invalid" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description."""
        return {**asdict(self), "ready": self.ready}


def check_up(name_or_path: str | Path) -> CheckUp:
    """Look at a target for about a second.

    Raises:
        UsageError: no such profile.
        DeviceError: the device cannot be reached.
    """
    target = load_target(name_or_path)
    transport = open_transport(target)
    first = probe(target, None, transport)
    missing = []
    versions, accelerators = {}, []
    for name in target.runtimes:
        try:
            values = probe(target, name, transport)
            versions[name] = f"{get_runtime(name).package} {values['runtimes'][name]}"
        except EnvironmentFailure as error:
            missing.append(f"{name}: {error}")
            continue
        found, lacking = find_accelerators(target, name, values.get("delegates"), transport)
        accelerators += found
        missing += lacking
    if versions and not any(target.delegate in get_delegates(name) for name in versions):
        missing.append(f"a runtime that computes on {target.delegate}, which the profile names")
    first = probe(target, None, transport)  # anew: loading the runtimes was work
    time.sleep(LOOK_SECONDS)
    second = probe(target, None, transport)
    states = [HostState.from_dict(found["host"]) for found in (first, second)]
    missing += [
        f"the feature {feature}, which the profile expects"
        for feature in target.features
        if feature not in first["features"]
    ]
    return CheckUp(
        target=target.name,
        facts=_facts(target, first, versions, accelerators),
        findings=assess(states[0], states[1], target.threads, target.host_checks),
        missing=tuple(missing),
    )


def find_accelerators(
    target: Target, runtime: str, offered: Sequence[str] | None, transport: Transport
) -> tuple[list[str], list[str]]:
    """What a runtime can compute with there but the CPU, each tried, and what the profile's delegate lacks.

    Args:
        target: the device.
        runtime: one of its runtimes, which is there.
        offered: the delegates that the runtime has there, where it says so.
        transport: the way there.
    """
    found, lacking = [], []
    package, tool = get_runtime(runtime).package, find_tool(target)
    if tool is not None:
        found.append(f"{NAME} for {target.delegate}, not tried: {tool}")
    for delegate in get_delegates(runtime):
        wanted = delegate == target.delegate
        if delegate == "cpu" or (not wanted and delegate not in (offered or ())):
            continue
        try:
            alone = dataclasses.replace(target, delegate=delegate, allow_fallback=False)
            adapter = try_delegate(alone, runtime, transport)
        except EnvironmentFailure as error:
            if wanted and tool is None:
                lacking.append(f"{runtime} on {delegate}: {error}")
        else:
            found.append(f"{package} {delegate}" + (f": {adapter}" if adapter else ""))
    return found, lacking


def _facts(
    target: Target, found: Mapping[str, Any], versions: Mapping[str, str], accelerators: Sequence[str]
) -> dict[str, str]:
    memory = found.get("memory_mb")
    clocks = Counter(round(clock) for clock in found["core_maximum_mhz"] if clock is not None)
    return {
        "target": f"{target.name} ({target.kind})",
        "machine": " ".join(filter(None, (found.get("board"), found["machine"], found["system"], found["kernel"]))),
        "processor": f"{found.get('cpu_model') or 'unknown'}, {found['cores']} cores",
        "clusters": ", ".join(f"{clocks[clock]} x {clock} MHz" for clock in sorted(clocks, reverse=True)) or "unknown",
        "features": ", ".join(found["features"]) or "unknown",
        "memory": "unknown" if memory is None else f"{memory / 1000:.1f} GB",
        "system": f"{found['bits']}-bit, {found['libc'] or 'unknown C library'}",
        "python": f"{found['python']}, numpy {found['numpy'] or 'none of its own'}" if found["python"] else "none",
        "runtimes": ", ".join(versions.values()) or "none of the profile's",
        "accelerators": "; ".join(accelerators) or "none found",
        "delegate": target.delegate + (", or what runs instead" if target.allow_fallback else ""),
        "sensors": ", ".join(found["sensors"]) or "none found",
        "energy sensor": target.energy_sensor or "none configured",
    }
