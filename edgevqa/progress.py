"""How long work tells what it is doing: a small protocol that the command line implements with a progress bar."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the steps of a long piece of work."""

    def start(self, description: str, total: int) -> None:
        """A piece of work of `total` steps begins."""

    def step(self, description: str, amount: int = 1) -> None:
        """`amount` steps were done; `description` says what is done now."""

    def finish(self) -> None:
        """The piece of work that was started last has ended."""

    def note(self, line: str) -> None:
        """Something that should be known beside the result."""


class Silent:
    """The progress that shows nothing, the default of every library function."""

    def start(self, description: str, total: int) -> None:
        """Show nothing."""

    def step(self, description: str, amount: int = 1) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Show nothing."""

    def note(self, line: str) -> None:
        """Show nothing."""
