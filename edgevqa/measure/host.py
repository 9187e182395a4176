"""Could the machine be measured well? `gather` reads its state, `assess` judges two states and reads nothing.

What was seen to be wrong makes a measurement invalid, what was less than ideal degrades it. What cannot be
read stays unknown, which degrades it too: a virtual machine has no governor and no thermal zone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgevqa.runtimes import runner

Level = Literal["invalid", "degraded", "unknown"]

LEAST_WINDOW_S = 0.5  # the kernel counts the time of its cores in steps of 10 ms
TOLERATED_CORES = 0.25  # load of other processes that is always there
WAITED_INVALID, WAITED_DEGRADED = 0.10, 0.02  # share of the time without a core
STOLEN_INVALID, STOLEN_DEGRADED = 0.20, 0.02  # cores that the hypervisor gave to other machines
CLOCK_DROP = 0.9
TEMPERATURE_RISE_K = 10.0


@dataclass(frozen=True)
class HostState:
    """The state of a machine at one moment, as `runner.host_state` reads it; None is unknown.

    Counters (`throttle_count` and the `_s` fields but `monotonic_s`) only mean something as a difference:
    `busy_s` of the allowed cores, `stolen_s` by the hypervisor, `quota_stopped_s` by the container's limit,
    `waited_s` and `own_s` of the measured process without and with a core.
    """

    monotonic_s: float
    cores: int
    governor: str | None = None
    clock_mhz: float | None = None
    turbo: bool | None = None
    load_average: float | None = None
    temperature_c: float | None = None
    throttle_count: float | None = None
    throttled_now: bool | None = None
    quota_stopped_s: float | None = None
    busy_s: float | None = None
    stolen_s: float | None = None
    waited_s: float | None = None
    own_s: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HostState:
        """From what a runner reported; what this version does not know is left out."""
        names = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


@dataclass(frozen=True)
class Finding:
    """One thing about the machine: how bad it is, which check found it, what it is, and what helps."""

    level: Level
    check: str
    text: str
    fix: str = ""


def gather() -> HostState:
    """The state of this machine now."""
    return HostState.from_dict(runner.host_state())


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _governor(before: HostState, after: HostState) -> Iterable[Finding]:
    fix = "sudo cpupower frequency-set -g performance"
    if after.governor is None:
        yield Finding("unknown", "governor", "governor")
    elif after.governor != "performance":
        yield Finding("degraded", "governor", f"the clock governor is {after.governor}", fix)


def _clock(before: HostState, after: HostState) -> Iterable[Finding]:
    if before.clock_mhz is None or after.clock_mhz is None:
        yield Finding("unknown", "clock", "clock")
    elif after.clock_mhz < CLOCK_DROP * before.clock_mhz:
        text = f"the clock fell from {before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz"
        yield Finding("degraded", "clock", text, "let the device cool down, or fix its clock")


def _turbo(before: HostState, after: HostState) -> Iterable[Finding]:
    if after.turbo is None:
        yield Finding("unknown", "turbo", "turbo")
    elif after.turbo:
        fix = "switch it off: 1 into intel_pstate/no_turbo, or 0 into cpufreq/boost, in /sys/devices/system/cpu"
        yield Finding("degraded", "turbo", "turbo is on, so the clock depends on the temperature", fix)


def _temperature(before: HostState, after: HostState) -> Iterable[Finding]:
    rise = _difference(before.temperature_c, after.temperature_c)
    if rise is None:
        yield Finding("unknown", "temperature", "temperature")
    elif rise > TEMPERATURE_RISE_K:
        text = f"the temperature rose by {rise:.0f} K to {after.temperature_c:.0f} °C"
        yield Finding("degraded", "temperature", text, "warm the device up before, or cool it")


def _throttling(before: HostState, after: HostState) -> Iterable[Finding]:
    count = _difference(before.throttle_count, after.throttle_count)
    if count or after.throttled_now:
        yield Finding("invalid", "throttling", "the device throttled its clock", "cool it, and check its power supply")
    elif count is None and after.throttled_now is None:
        yield Finding("unknown", "throttling", "throttling")
    stopped = _difference(before.quota_stopped_s, after.quota_stopped_s)
    if stopped and stopped > WAITED_DEGRADED * (after.monotonic_s - before.monotonic_s):
        text = f"the container's limit stopped the processes for {stopped:.1f} s"
        yield Finding("invalid", "throttling", text, "raise the CPU limit of the container")


def _load(before: HostState, after: HostState, threads: int) -> Iterable[Finding]:
    window = after.monotonic_s - before.monotonic_s
    busy, own = _difference(before.busy_s, after.busy_s), _difference(before.own_s, after.own_s)
    if busy is None or own is None or window < LEAST_WINDOW_S:
        yield Finding("unknown", "load", "load of other processes")
        return
    others, cores, fix = max(0.0, busy - own) / window, after.cores, "stop other programs, and measure again"
    waited = (_difference(before.waited_s, after.waited_s) or 0.0) / (window * threads)
    stolen = (_difference(before.stolen_s, after.stolen_s) or 0.0) / window
    if threads + others > cores + TOLERATED_CORES:
        text = f"{threads} threads and other processes that took {others:.1f} cores shared {cores} cores"
        yield Finding("invalid", "load", text, fix)
    elif waited > WAITED_INVALID:
        yield Finding("invalid", "load", f"the model had no core {waited:.0%} of the time", fix)
    elif stolen > STOLEN_INVALID:
        text = f"the hypervisor took {stolen:.1f} cores away"
        yield Finding("invalid", "load", text, "measure on a machine that is not shared")
    elif others > TOLERATED_CORES:
        yield Finding("degraded", "load", f"other processes took {others:.1f} of {cores} cores", fix)
    elif waited > WAITED_DEGRADED:
        yield Finding("degraded", "load", f"the model had no core {waited:.1%} of the time", fix)
    elif stolen > STOLEN_DEGRADED:
        text = f"the hypervisor took {stolen:.2f} cores away"
        yield Finding("degraded", "load", text, "measure on a machine that is not shared")


def assess(before: HostState, after: HostState, threads: int, checks: Sequence[str]) -> tuple[Finding, ...]:
    """What the states before and after a measurement say about it.

    Args:
        before: after the warm-up, so under load.
        after: right after the last query.
        threads: how many threads the model ran with.
        checks: which of `targets.HOST_CHECKS` make sense on the device; none at all is a finding, too.
    """
    if not checks:
        return (Finding("degraded", "host_checks", "the profile asks for no host checks"),)
    found = {
        "governor": _governor(before, after),
        "clock": _clock(before, after),
        "turbo": _turbo(before, after),
        "load": _load(before, after, threads),
        "temperature": _temperature(before, after),
        "throttling": _throttling(before, after),
    }
    return tuple(finding for check in checks for finding in found[check])


def validity(findings: Iterable[Finding]) -> str:
    """`valid`, `degraded: ...` or `invalid: ...` with what was found.

    Findings of several processes may be given together; of each level and check the first one is named.
    """
    findings = list(findings)
    first: dict[tuple[str, str], str] = {}
    for finding in findings:
        first.setdefault((finding.level, finding.check), finding.text)

    def texts(level: Level) -> list[str]:
        return [text for (found, _check), text in first.items() if found == level]

    if texts("invalid"):
        return "invalid: " + "; ".join(texts("invalid"))
    unknown = [f"unknown {', '.join(texts('unknown'))}"] if texts("unknown") else []
    reasons = texts("degraded") + unknown
    return "degraded: " + "; ".join(reasons) if reasons else "valid"
