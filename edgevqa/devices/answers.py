"""What a device says is checked key by key before it is used: it may be broken, of another version, or hostile."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgevqa.errors import DeviceError

LONGEST_TEXT, LONGEST_REASON = 500, 10_000
MOST_ITEMS = 4096

Check = Callable[[Any], bool]


def text(value: Any) -> bool:
    """A line that does not steer a terminal."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def reason(value: Any) -> bool:
    """The same, with room for a list of operators."""
    return isinstance(value, str) and len(value) <= LONGEST_REASON and value.isprintable()


def number(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count(value: Any) -> bool:
    """A whole number from 1 on, of a size that something can be done that many times."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_ITEMS


def boolean(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def mask(value: Any) -> bool:
    """A mask of cores with at least one core."""
    return isinstance(value, str) and re.fullmatch(r"0x0*[1-9a-f][0-9a-f]{0,255}", value) is not None


def maybe(check: Check) -> Check:
    """The same, or nothing."""
    return lambda value: value is None or check(value)


def several(check: Check) -> Check:
    """A list of such values."""
    return lambda value: isinstance(value, list) and len(value) <= MOST_ITEMS and all(map(check, value))


def table(check: Check) -> Check:
    """An object with such values."""
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= MOST_ITEMS
        and all(map(text, value))
        and all(map(check, value.values()))
    )


def has(checks: Mapping[str, Check]) -> Check:
    """An object whose values are as they should be; what lacks counts as nothing, and other keys may be there."""
    return lambda value: isinstance(value, dict) and all(check(value.get(key)) for key, check in checks.items())


HOST: Mapping[str, Check] = {
    "monotonic_s": number,
    "cores": count,
    "governor": maybe(text),
    "clock_mhz": maybe(number),
    "turbo": maybe(boolean),
    "load_average": maybe(number),
    "temperature_c": maybe(number),
    "throttle_count": maybe(number),
    "throttled_now": maybe(boolean),
    "quota_stopped_s": maybe(number),
    "busy_s": maybe(number),
    "stolen_s": maybe(number),
    "waited_s": maybe(number),
    "own_s": maybe(number),
}

PROBE: Mapping[str, Check] = {
    "machine": text,
    "system": text,
    "kernel": maybe(text),
    "libc": maybe(text),
    "board": maybe(text),
    "cpu_model": maybe(text),
    "features": several(text),
    "cores": count,
    "core_mask": mask,
    "core_maximum_mhz": several(maybe(number)),
    "core_capacity": maybe(several(maybe(number))),
    "memory_mb": maybe(number),
    "bits": count,
    "python": maybe(text),
    "numpy": maybe(text),
    "runtimes": table(maybe(text)),
    "sensors": several(text),
    "disk_free_mb": maybe(number),
    "wall_clock_s": maybe(number),
    "host": has(HOST),
}

WATCHED: Mapping[str, Check] = {
    "clock_minimum_mhz": maybe(number),
    "temperature_maximum_c": maybe(number),
    "throttled": maybe(boolean),
}

TIMING: Mapping[str, Check] = {
    "import_ms": number,
    "load_ms": number,
    "first_inference_ms": number,
    "peak_rss_mb": maybe(number),
    "model_rss_mb": maybe(number),
    "runtime_version": text,
    "delegate": text,
    "fully_accelerated": maybe(boolean),
    "coverage_percent": maybe(number),
    "adapter": maybe(text),
    "arithmetic": maybe(text),
    "fell_back": maybe(reason),
    "partitions": maybe(lambda value: value == 0 or count(value)),
    "watched": maybe(has(WATCHED)),
    "host_before": has(HOST),
    "host_after": has(HOST),
}


def check_answer(values: Mapping[str, Any], checks: Mapping[str, Check], device: str) -> None:
    """Raise DeviceError, naming the first key, unless every value is as it should be."""
    for key, check in checks.items():
        if not check(values.get(key)):
            shown = ascii(values.get(key))[:100]
            raise DeviceError(
                f"{device} says nonsense: {key} is {shown}; is what runs there broken, or another version of edgevqa?"
            )
