"""The errors that edgevqa raises on purpose; every message says what was wrong, where, and what to do.

The command line turns each into one line and its `exit_code`:
1 a gate or a limit failed, 2 the input or the command was wrong, 3 the device or the environment failed,
4 too little was measured to say.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeVQAError(Exception):
    """Base of all edgevqa errors; `str(error)` is the one line that a user reads."""

    exit_code: ClassVar[int] = 3


class UsageError(EdgeVQAError):
    """A command, an option or an argument makes no sense (a pair outside the grid, an unknown model)."""

    exit_code: ClassVar[int] = 2


class InputError(UsageError):
    """A file or a value that the user gave is broken (truncated weights, an unreadable picture)."""


class IntegrityError(InputError):
    """A file does not match its manifest (sha256, shape, schema)."""


class EnvironmentFailure(EdgeVQAError):
    """The machine could not do it (a full disk, a read-only folder, a lock held by another process)."""


class MissingExtra(EnvironmentFailure):
    """An optional dependency is not installed.

    Args:
        package: the module that could not be imported.
        extra: the extra of edgevqa that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install 'edgevqa[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.package, self.extra)  # it comes back whole from another process


class DeviceError(EnvironmentFailure):
    """A device could not be reached, lacks something, or the runner on it failed."""


class DeviceLost(DeviceError):
    """A device does not answer, or does no more; it may be back later."""


class GateFailed(EdgeVQAError):
    """An artifact does not answer as the PyTorch submodel does, or misses a limit."""

    exit_code: ClassVar[int] = 1


class Inconclusive(EdgeVQAError):
    """Not enough was measured to give an answer."""

    exit_code: ClassVar[int] = 4
