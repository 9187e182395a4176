"""Waiting that can be called off: Ctrl-C reaches the main thread only, and the workers of a fleet must end with it.

A worker gives its thread an event; once that is set, every wait of the thread raises KeyboardInterrupt, so that it
cleans up just as the main thread does. Other threads wait as usual.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

LOOK_EVERY_S = 0.5

_called_off: ContextVar[threading.Event | None] = ContextVar("called_off", default=None)


def call_off_with(event: threading.Event) -> None:
    """Let the waits of this thread end as soon as the event is set."""
    _called_off.set(event)


def check() -> None:
    """Raise KeyboardInterrupt when the work of this thread was called off."""
    event = _called_off.get()
    if event is not None and event.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def to_the_end() -> Iterator[None]:
    """Let nothing call off what the block does: it cleans up."""
    token = _called_off.set(None)
    try:
        yield
    finally:
        _called_off.reset(token)


def pause(seconds: float) -> None:
    """Sleep; raises KeyboardInterrupt when called off."""
    event = _called_off.get()
    if event is None:
        time.sleep(seconds)
    else:
        event.wait(seconds)
        check()


def wait(process: subprocess.Popen[bytes], timeout_s: float, look: Callable[[], object] = check) -> int:
    """Wait for a program's end and return its exit code; `look` is called about twice a second and may raise.

    Raises:
        subprocess.TimeoutExpired: it did not end in time; it runs on.
    """
    end = time.monotonic() + timeout_s
    while True:
        check()
        look()
        left = end - time.monotonic()
        try:
            return process.wait(min(LOOK_EVERY_S, max(left, 0)))
        except subprocess.TimeoutExpired:
            if left <= LOOK_EVERY_S:
                raise


def run_client(argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a client program on this machine, out of reach of the terminal's Ctrl-C, and give back what it printed.

    What it starts in the background (adb's server, the master of an ssh connection) outlives it.

    Raises:
        FileNotFoundError: there is no such program.
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    # background programs keep these open; files, unlike pipes, do not make us wait for them
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        try:
            code = wait(process, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return subprocess.CompletedProcess(list(argv), code, *texts)
