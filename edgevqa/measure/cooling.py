"""Cooling down: a device is timed only once it is about as cool as it was when its bench began."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgevqa.devices import waiting

TOLERATED_K = 2.0
LOOK_EVERY_S = 5.0


class Cooling:
    """Waits until a device is as cool as at the first call, within `TOLERATED_K`.

    Args:
        seconds: how long at most; with 0 nothing is looked at.
        temperature_c: asks the device; None where it has no sensor.
        say: told how warm it is.
    """

    def __init__(self, seconds: float, temperature_c: Callable[[], float | None], say: Callable[[str], object]) -> None:
        self.seconds, self.temperature_c, self.say = seconds, temperature_c, say
        self.at_start: float | None = None

    def __call__(self) -> None:
        """Wait; raises what asking raises."""
        end = time.monotonic() + self.seconds
        while self.seconds:
            now = self.temperature_c()
            if now is None:
                self.seconds = 0.0  # it is not asked again
                return
            if self.at_start is None:
                self.at_start = now
            left = end - time.monotonic()
            if now <= self.at_start + TOLERATED_K or left <= 0:
                return
            self.say(f"cooling down: {now:.0f} °C, {self.at_start:.0f} °C at the start; {left:.0f} s at most")
            waiting.pause(min(LOOK_EVERY_S, left))
