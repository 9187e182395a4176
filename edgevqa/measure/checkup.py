"""A target's check-up: what it is, which runtimes it has and lacks, and what would disturb a measurement now."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport, open_transport
from edgevqa.devices.benchmark_model import NAME, find_tool
from edgevqa.devices.cores import describe_clusters, resolve_mask
from edgevqa.devices.jobs import probe
from edgevqa.devices.targets import CORE_WORDS, load_target
from edgevqa.devices.trial import try_delegate
from edgevqa.errors import DeviceError, EnvironmentFailure
from edgevqa.measure.host import Finding, HostState, assess
from edgevqa.runtimes import get_delegates, get_runtime

LOOK_SECONDS = 1.0
CLOCK_TOLERANCE_S = 60.0
LEAST_DISK_MB = 300.0  # a runtime takes some 150 MB, and its wheels as much while they are unpacked

# what makes kernels of int8 and fp16 fast: what people call it -> how Linux names it, on each architecture
INSTRUCTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "aarch64": {"dotprod": ("asimddp",), "i8mm": ("i8mm",), "fp16": ("asimdhp",), "bf16": ("bf16",), "SVE": ("sve",)},
    "x86_64": {"AVX2": ("avx2",), "FMA": ("fma",), "VNNI": ("avx512_vnni", "avx_vnni"), "AVX-512": ("avx512f",)},
}


@dataclass(frozen=True)
class CheckUp:
    """What was found.

    Attributes:
        target: the profile's name.
        facts: what the device is and has, by name.
        findings: what would disturb a measurement, as `assess` says it, and what else is unusual.
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
    asked = time.time()
    first = probe(target, None, transport)
    findings = [*compare_clocks(target, first, asked, time.time()), *_disk(target, first)]
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
        f"the feature {_common_name(feature)}, which the profile expects"
        for feature in target.features
        if feature not in first["features"]
    ]
    cores = target.core_mask or "all"
    if target.core_mask in CORE_WORDS:
        try:
            cores = f"{target.core_mask}: {resolve_mask(target, first).core_mask}"
        except DeviceError as error:
            missing.append(str(error))
    return CheckUp(
        target=target.name,
        facts=_facts(target, first, versions, cores, accelerators),
        findings=(*findings, *assess(states[0], states[1], target.threads, target.host_checks)),
        missing=tuple(missing),
    )


def compare_clocks(target: Target, found: Mapping[str, Any], asked: float, answered: float) -> Iterable[Finding]:
    """Whether the device's clock shows another time than this machine's; rows carry this machine's."""
    there = found.get("wall_clock_s")
    if there is None or target.kind == "local":
        return
    off = there - answered if there > answered else min(there - asked, 0.0)
    if abs(off) > CLOCK_TOLERANCE_S:
        days = abs(off) / 86_400
        size = f"{days:.0f} days" if days > 2 else f"{abs(off) / 60:.0f} minutes"
        text = f"its clock is {size} {'ahead' if off > 0 else 'behind'}; rows carry the time of this machine"
        yield Finding("degraded", "time", text, "sudo timedatectl set-ntp true")


def _disk(target: Target, found: Mapping[str, Any]) -> Iterable[Finding]:
    free = found.get("disk_free_mb")
    if free is not None and free < LEAST_DISK_MB:
        text = f"only {free:.0f} MB are free in {target.folder or 'its folder'}; a runtime takes some 150 MB"
        yield Finding("degraded", "disk", text, "make room there, or let `folder` in the profile name another disk")


def _common_name(feature: str) -> str:
    """A feature as Linux names it, with the common word before it if there is one."""
    for words in INSTRUCTIONS.values():
        for word, names in words.items():
            if feature in names and feature != word:
                return f"{word} ({feature})"
    return feature


def describe_instructions(found: Mapping[str, Any]) -> str:
    """What speeds up int8 and fp16 there, in common words beside the kernel's, and what lacks."""
    words = INSTRUCTIONS.get(found["machine"], {})
    there = {word: next((name for name in names if name in found["features"]), None) for word, names in words.items()}
    has = [word if name == word else f"{word} ({name})" for word, name in there.items() if name]
    lacks = [word for word, name in there.items() if not name]
    if not has:
        return "unknown"
    return ", ".join(has) + (f"; not {', '.join(lacks)}" if lacks else "")


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
    target: Target,
    found: Mapping[str, Any],
    versions: Mapping[str, str],
    cores: str,
    accelerators: Sequence[str],
) -> dict[str, str]:
    memory, free = found.get("memory_mb"), found.get("disk_free_mb")
    return {
        "target": f"{target.name} ({target.kind})",
        "machine": " ".join(filter(None, (found.get("board"), found["machine"], found["system"], found["kernel"]))),
        "processor": f"{found.get('cpu_model') or 'unknown'}, {found['cores']} cores",
        "clusters": describe_clusters(found),
        "runs on cores": cores,
        "instructions": describe_instructions(found),
        "features": ", ".join(found["features"]) or "unknown",
        "memory": "unknown" if memory is None else f"{memory / 1000:.1f} GB",
        "free disk": "unknown" if free is None else f"{free / 1000:.1f} GB",
        "system": f"{found['bits']}-bit, {found['libc'] or 'unknown C library'}",
        "python": f"{found['python']}, numpy {found['numpy'] or 'none of its own'}" if found["python"] else "none",
        "runtimes": ", ".join(versions.values()) or "none of the profile's",
        "accelerators": "; ".join(accelerators) or "none found",
        "delegate": target.delegate + (", or what runs instead" if target.allow_fallback else ""),
        "sensors": ", ".join(found["sensors"]) or "none found",
        "energy sensor": target.energy_sensor or "none configured",
    }
