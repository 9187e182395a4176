"""Bad entries of data: an error at the first one, or all of them told and left out; none disappears silently."""

from __future__ import annotations

from edgevqa.errors import InputError
from edgevqa.progress import Progress, Silent

SHOWN = 20
"""So many are told one by one; behind them only their number."""


class BadEntries:
    """What is done about entries that cannot be used.

    Args:
        skip: whether they are left out.
        progress: is told about each that is left out.
    """

    def __init__(self, skip: bool = False, progress: Progress | None = None) -> None:
        self.skip = skip
        self.progress = progress or Silent()
        self.messages: list[str] = []
        self._told = 0

    def found(self, error: InputError) -> None:
        """An entry is bad; raises its error unless such are left out."""
        if not self.skip:
            raise InputError(f"{error} (--skip-bad goes on without such entries)") from error
        self.messages.append(str(error))
        if len(self.messages) <= SHOWN:
            self.progress.note(f"left out: {error}")

    def told(self) -> None:
        """Say how many there were, when there are more than were told before."""
        if len(self.messages) > self._told:
            self._told = len(self.messages)
            unsaid = len(self.messages) - SHOWN
            more = f", {unsaid} of which are not named here" if unsaid > 0 else ""
            self.progress.note(f"{len(self.messages)} bad entries were left out{more}")


STRICT = BadEntries()
"""The first bad entry is an error."""
