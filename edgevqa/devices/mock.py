"""A device that is a function, for tests of whatever uses one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevqa.devices.base import Completed, FetchedFolder, check_files


@dataclass(frozen=True)
class Call:
    """One call of `Transport.run`; `files` holds the content of what was sent."""

    argv: tuple[str, ...]
    files: Mapping[str, bytes]
    fetch: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Answer:
    """What the mocked device does: its exit code, what it prints, and the content of the files it wrote."""

    exit_code: int = 0
    stdout: str = ""
    stderr: str = ""
    files: Mapping[str, bytes] | None = None


class MockTransport:
    """Answers every call with `handler(call)`, and keeps the calls in `calls`."""

    def __init__(self, handler: Callable[[Call], Answer]) -> None:
        self.handler = handler
        self.calls: list[Call] = []

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """See `Transport.run`."""
        check_files(files, fetch)
        sent = {name: path.read_bytes() for name, path in files.items()}
        call = Call(tuple(argv), sent, tuple(fetch), timeout_s)
        self.calls.append(call)
        answer = self.handler(call)
        folder, found = FetchedFolder(), {}
        for name, content in (answer.files or {}).items():
            if name in fetch:
                found[name] = folder.path / name
                found[name].write_bytes(content)
        return Completed(answer.exit_code, answer.stdout, answer.stderr, found, folder)
