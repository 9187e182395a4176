"""What two states of a machine say about the measurement between them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgevqa.devices.targets import HOST_CHECKS
from edgevqa.measure.host import Finding, HostState, assess, gather, validity

BEFORE = HostState(
    monotonic_s=100.0,
    cores=4,
    governor="performance",
    clock_mhz=2400.0,
    turbo=False,
    load_average=1.0,
    temperature_c=50.0,
    throttle_count=3.0,
    throttled_now=False,
    quota_stopped_s=0.0,
    busy_s=500.0,
    stolen_s=1.0,
    waited_s=0.5,
    own_s=2.0,
)
# ten seconds on, one thread busy all the time, nothing else
AFTER = dataclasses.replace(BEFORE, monotonic_s=110.0, busy_s=510.1, own_s=12.0, waited_s=0.51)


def judge(threads: int = 1, before: HostState = BEFORE, **after: Any) -> str:
    return validity(assess(before, dataclasses.replace(AFTER, **after), threads, HOST_CHECKS))


def test_a_quiet_machine_is_valid() -> None:
    assert judge() == "valid"
    assert judge(3) == "valid"


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"governor": "powersave"}, "degraded: the clock governor is powersave"),
        ({"clock_mhz": 1800.0}, "degraded: the clock fell from 2400 to 1800 MHz"),
        ({"turbo": True}, "degraded: turbo is on"),
        ({"temperature_c": 75.0}, "degraded: the temperature rose by 25 K to 75 °C"),
        ({"throttle_count": 4.0}, "invalid: the device throttled"),
        ({"throttled_now": True}, "invalid: the device throttled"),
        ({"quota_stopped_s": 2.0}, "invalid: the container's limit stopped the processes for 2.0 s"),
        ({"busy_s": 520.0}, "degraded: other processes took 1.0 of 4 cores"),
        ({"busy_s": 543.0}, "invalid: 1 threads and other processes that took 3.3 cores shared 4 cores"),
        ({"waited_s": 3.5}, "invalid: the model had no core 30% of the time"),
        ({"waited_s": 1.0}, "degraded: the model had no core 5.0% of the time"),
        ({"stolen_s": 4.0}, "invalid: the hypervisor took 0.3 cores away"),
        ({"stolen_s": 2.0}, "degraded: the hypervisor took 0.10 cores away"),
    ],
)
def test_each_fault_is_named(after: dict[str, Any], words: str) -> None:
    assert judge(**after).startswith(words)


def test_more_threads_than_cores() -> None:
    assert judge(5).startswith("invalid: 5 threads")


def test_what_cannot_be_read_is_unknown_and_only_degrades() -> None:
    blind = HostState(100.0, 2)
    findings = assess(blind, HostState(110.0, 2), 1, HOST_CHECKS)
    assert {finding.level for finding in findings} == {"unknown"}
    assert validity(findings) == (
        "degraded: unknown governor, clock, turbo, load of other processes, temperature, throttling"
    )


def test_a_window_that_is_too_short_says_nothing_about_the_load() -> None:
    assert judge(monotonic_s=100.1, busy_s=500.4, own_s=2.1) == "degraded: unknown load of other processes"


def test_only_the_checks_of_the_target_are_made() -> None:
    loud = dataclasses.replace(AFTER, governor="powersave", turbo=None)
    assert validity(assess(BEFORE, loud, 1, ("load",))) == "valid"


def test_a_machine_that_nobody_checks_is_not_valid() -> None:
    assert validity(assess(BEFORE, AFTER, 1, ())) == "degraded: the profile asks for no host checks"


def test_the_worst_level_counts_and_each_check_is_named_once() -> None:
    findings = [
        Finding("unknown", "clock", "clock"),
        Finding("degraded", "load", "a little"),
        Finding("degraded", "load", "a little more"),
    ]
    assert validity(findings) == "degraded: a little; unknown clock"
    assert validity([*findings, Finding("invalid", "load", "too much")]) == "invalid: too much"


def test_every_fault_has_a_fix() -> None:
    bad = dataclasses.replace(
        AFTER,
        governor="powersave",
        clock_mhz=1.0,
        turbo=True,
        temperature_c=99.0,
        throttle_count=9.0,
        busy_s=600.0,
    )
    findings = assess(BEFORE, bad, 1, HOST_CHECKS)
    assert len(findings) == len(HOST_CHECKS)
    assert all(finding.fix for finding in findings)


def test_this_machine_can_be_read() -> None:
    state = gather()
    assert state.cores >= 1
    later = gather()
    assert later.monotonic_s >= state.monotonic_s
    assert HostState.from_dict({**dataclasses.asdict(state), "from_a_later_version": 1}) == state
