"""The cores of a device by their speed, and the mask that a profile's `big` or `little` means there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgevqa.devices.targets import CORE_WORDS, Target
from edgevqa.errors import DeviceError

SAME_SPEED = 0.9  # a core at this share of another's speed or more is of the same cluster


def cores_in(mask: str) -> list[int]:
    """The numbers of the cores in a mask such as `0xf0`."""
    bits = int(mask, 16)
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def clusters(found: Mapping[str, Any]) -> list[list[int]]:
    """The cores that a probe found, those of one speed together, the fastest first; empty when it cannot tell.

    The kernel's capacity of a core counts, or else its highest clock.
    """
    cores = cores_in(found["core_mask"])
    for key in ("core_capacity", "core_maximum_mhz"):
        speeds: Sequence[float | None] = found.get(key) or ()
        known = [speed for speed in speeds if speed]
        if len(known) != len(cores):
            continue
        groups: list[list[int]] = []
        last = 0.0
        for speed, core in sorted(zip(known, cores, strict=True), key=lambda pair: (-pair[0], pair[1])):
            if not groups or speed < SAME_SPEED * last:
                groups.append([])
            groups[-1].append(core)
            last = speed
        return groups
    return []


def resolve_mask(target: Target, found: Mapping[str, Any]) -> Target:
    """The target with a mask of hexadecimal digits in the place of `big` or `little`.

    `little` are the cores of the slowest cluster, `big` are all others.

    Raises:
        DeviceError: the device does not tell its cores apart, or they are all alike.
    """
    if target.core_mask not in CORE_WORDS:
        return target
    groups = clusters(found)
    advice = 'let `core_mask` be a mask such as "0xf0", or leave it out'
    if not groups:
        raise DeviceError(f"{target.name} tells neither the clocks nor the capacities of its cores; {advice}")
    if len(groups) == 1:
        raise DeviceError(f"{target.name} has {len(groups[0])} equal cores, none big or little; {advice}")
    chosen = groups[-1] if target.core_mask == "little" else [core for group in groups[:-1] for core in group]
    return dataclasses.replace(target, core_mask=hex(sum(1 << core for core in chosen)))


def describe_clusters(found: Mapping[str, Any]) -> str:
    """The clusters in words, as `4 x 2400 MHz (0xf0), 4 x 1800 MHz (0xf)`."""
    numbers, clocks = cores_in(found["core_mask"]), found.get("core_maximum_mhz") or ()
    clock_of = dict(zip(numbers, clocks, strict=False))
    texts = []
    for group in clusters(found):
        clock = clock_of.get(group[0])
        speed = f" x {clock:.0f} MHz" if clock else " cores"
        texts.append(f"{len(group)}{speed} ({hex(sum(1 << core for core in group))})")
    return ", ".join(texts) or "unknown"
