"""How long and how often a model is run."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevqa.errors import UsageError

START_ALLOWANCE_S = 120.0


@dataclass(frozen=True)
class Protocol:
    """A way of measuring; the minima and the maximum are for all processes together.

    Attributes:
        name: what records call it.
        minimum_queries: timed queries at least,
        minimum_seconds: and timed seconds at least,
        maximum_seconds: after which it stops even so.
        processes: fresh processes that share the work.
        warmup_queries: untimed queries at least in each process,
        warmup_seconds: and untimed seconds at least.
        retries: how often a process is run again at once when the machine was busy with something else.
        watch: whether clock, temperature and throttling are looked at from outside while it runs.
        cool_seconds: how long at most to wait before each process until the device is as cool as at the start.
        bucket_seconds: length of the pieces that are also summed up one by one, to show a drift, or None.
    """

    name: str
    minimum_queries: int
    minimum_seconds: float
    maximum_seconds: float
    processes: int = 1
    warmup_queries: int = 10
    warmup_seconds: float = 0.2
    retries: int = 2
    watch: bool = False
    cool_seconds: float = 0.0
    bucket_seconds: float | None = None

    def job(self) -> Mapping[str, float]:
        """The share of one process, as keys of the runner's job."""
        return {
            **({"watch": True} if self.watch else {}),
            "warmup_queries": self.warmup_queries,
            "warmup_seconds": self.warmup_seconds,
            "minimum_queries": math.ceil(self.minimum_queries / self.processes),
            "minimum_seconds": self.minimum_seconds / self.processes,
            "maximum_seconds": self.maximum_seconds / self.processes,
        }

    @property
    def timeout_s(self) -> float:
        """When a process is given up: twice its longest time, and time to start and to warm up."""
        return 2 * self.maximum_seconds / self.processes + START_ALLOWANCE_S


# the numbers of queries and seconds follow MLPerf Mobile's rapid, quick and normal runs
_ALL = (
    Protocol("smoke", 64, 0.0, 60.0, warmup_queries=3, warmup_seconds=0.0),
    Protocol("quick", 128, 1.0, 120.0),
    Protocol("standard", 1024, 60.0, 600.0, 3, warmup_seconds=1.0, retries=1, watch=True, cool_seconds=300.0),
    Protocol("sustained", 1024, 1800.0, 1800.0, 1, 0, 0.0, 0, watch=True, cool_seconds=900.0, bucket_seconds=60.0),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})


def get_protocol(name: str) -> Protocol:
    """The protocol of a name; raises UsageError with the nearest known name otherwise."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown protocol {name!r} (known: {', '.join(PROTOCOLS)}){hint}")
    return PROTOCOLS[name]
