"""Several targets at once: one worker a device, so that none waits for another and none disturbs another.

Targets that are this machine (local and emulated ones) go one after another, and so do profiles of one address.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgevqa.devices import Target
from edgevqa.devices.waiting import call_off_with
from edgevqa.errors import EdgeVQAError, UsageError
from edgevqa.measure.record import Record
from edgevqa.progress import Progress, Silent

WAIT_S = 60.0  # for a device that went away


@dataclass(frozen=True)
class Outcome:
    """What came of a target: its records, and why it was not measured at all if it was not."""

    target: Target
    records: tuple[Record, ...] = ()
    error: EdgeVQAError | None = None

    @property
    def failure(self) -> str:
        """What of the target could not be measured and why, in one line; empty when all was."""
        if self.error is not None:
            text = " ".join(str(self.error).split())
            return text if text.startswith(self.target.name) else f"{self.target.name}: {text}"
        lacking = [record for record in self.records if record.n == 0 and record.gate != "failed"]
        if not lacking:
            return ""
        reason = lacking[0].validity.removeprefix("invalid: ").removeprefix("not measured: ")
        return f"{self.target.name}: {len(lacking)} of {len(self.records)} cells were not measured: {reason}"


def devices_of(targets: Sequence[Target]) -> list[list[Target]]:
    """The targets, those that are one device together; raises UsageError when two have one name."""
    for name, count in Counter(target.name for target in targets).items():
        if count > 1:
            raise UsageError(f"{count} of the targets are called {name}; results could not tell them apart")
    one_phone = any(target.kind == "adb" and target.serial is None for target in targets)
    devices: dict[tuple[str | None, ...], list[Target]] = {}
    for target in targets:
        key: tuple[str | None, ...] = ("this machine",)
        if target.kind == "ssh":
            key = ("ssh", target.host, target.ssh_config and str(target.beside(target.ssh_config)))
        elif target.kind == "adb":
            key = ("adb", None if one_phone else target.serial)
        devices.setdefault(key, []).append(target)
    return list(devices.values())


def measure_fleet(
    targets: Sequence[Target],
    measure: Callable[[Target, Progress], Sequence[Record]],
    progress: Mapping[str, Progress] | None = None,
) -> list[Outcome]:
    """Measure several targets, those of different devices at the same time.

    A target that fails costs nothing of the others. Ctrl-C ends all of them, and what they run on their devices.

    Args:
        targets: of different names.
        measure: measures one target; it is called in a thread of the target's device.
        progress: of each target, by its name.

    Returns:
        what came of each target, in their order.

    Raises:
        UsageError: two targets have one name.
    """
    devices, stop = devices_of(targets), threading.Event()
    outcomes: dict[str, Outcome] = {}

    def work(device: Sequence[Target]) -> None:
        call_off_with(stop)
        for target in device:
            try:
                records = measure(target, (progress or {}).get(target.name, Silent()))
                outcomes[target.name] = Outcome(target, tuple(records))
            except EdgeVQAError as error:
                outcomes[target.name] = Outcome(target, error=error)

    with ThreadPoolExecutor(max(len(devices), 1), "device") as workers:
        try:
            running = [workers.submit(work, device) for device in devices]
            concurrent.futures.wait(running)
        except BaseException:
            stop.set()  # the workers end their programs there, and are waited for at the end of the block
            raise
    for one in running:
        one.result()
    return [outcomes[target.name] for target in targets]
