"""Quiet on this machine: while something is timed here, the work for other devices that would disturb it waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from edgevqa.devices import waiting


class Quiet:
    """Any number of noises at once, or one silence."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._noises, self._silent = 0, False

    @contextlib.contextmanager
    def noise(self) -> Iterator[None]:
        """Do heavy work here once nothing is timed here; what runs on a device meanwhile is none."""
        with self._changed:
            while self._silent:
                self._wait()
            self._noises += 1
        try:
            yield
        finally:
            with self._changed:
                self._noises -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Time something here once no heavy work is under way."""
        with self._changed:
            while self._silent or self._noises:
                self._wait()
            self._silent = True
        try:
            yield
        finally:
            with self._changed:
                self._silent = False
                self._changed.notify_all()

    def _wait(self) -> None:
        self._changed.wait(waiting.LOOK_EVERY_S)
        waiting.check()


HERE = Quiet()
