"""Patience with a device that went away: wait until it is back, for a stated time and with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgevqa.devices import waiting
from edgevqa.errors import DeviceLost

Result = TypeVar("Result")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0


class Patience:
    """Does something on a device, and once more when the device went away meanwhile and came back.

    Args:
        seconds: how long a device is waited for; with 0 nothing is waited for or done again. A device that was waited
            for in vain is given up: every further call fails at once.
        say: told what is waited for.
    """

    def __init__(self, seconds: float = 0.0, say: Callable[[str], object] = lambda text: None) -> None:
        self.seconds, self.say = seconds, say
        self.given_up: DeviceLost | None = None

    def __call__(self, connect: Callable[[], object], action: Callable[[], Result]) -> Result:
        """Do `action`, waiting for `connect` to succeed if need be; raises what the two raise."""
        if self.given_up is not None:
            raise DeviceLost(str(self.given_up))
        try:
            return action()
        except DeviceLost as error:
            if self.seconds <= 0:
                raise
            self._wait(connect, error)
        return action()

    def _wait(self, connect: Callable[[], object], error: DeviceLost) -> None:
        end, pause = time.monotonic() + self.seconds, FIRST_PAUSE_S
        while (left := end - time.monotonic()) > 0:
            self.say(f"waiting {left:.0f} s for it: {error}")
            waiting.pause(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                connect()
                return
            except DeviceLost:
                continue
        self.given_up = DeviceLost(f"{error}; waited {self.seconds:g} s for it")
        raise self.given_up
