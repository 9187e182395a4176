"""One export process of `pool.py`: reads jobs as JSON lines, answers in JSON lines.

First line: {"checkpoint", "out", "calibration" (the path of an .npz, or null), "command", "options" (formats,
precisions, schemes and runtimes of `export_submodel`)}; then one plan a line. Answers are {"step": title, "amount":
files} for what was made, {"done": true} for each plan, or {"error": text, "kind": class name} and the end.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO


def end_with_parent() -> None:
    """Let the kernel end this process with the one that started it, however that ends."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != int(os.environ.get("EDGEVQA_PARENT", os.getppid())):
        sys.exit(3)


class Reporter:
    """A progress that writes each step as a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def say(self, **values: Any) -> None:
        """Write one answer."""
        self.stream.write(json.dumps(values) + "\n")
        self.stream.flush()

    def start(self, description: str, total: int) -> None:
        """Nothing: the parent knows how much there is to do."""

    def step(self, description: str, amount: int = 1) -> None:
        """Report files."""
        if amount:
            self.say(step=description, amount=amount)

    def finish(self) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing: an export has no notes."""


def work(lines: TextIO, report: Reporter) -> None:
    """Export what the lines ask for."""
    import numpy as np

    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.export.exporter import export_submodel
    from edgevqa.slimming.plan import SubmodelPlan

    setup = json.loads(lines.readline())
    calibration = None
    if setup["calibration"]:
        with np.load(setup["calibration"], allow_pickle=False) as stored:
            calibration = {name: stored[name] for name in stored.files}
    checkpoint = load_checkpoint(setup["checkpoint"])
    for line in lines:
        gc.collect()
        gc.freeze()
        gc.disable()  # the exporters build large graphs of small objects: a third of the time would go here
        export_submodel(
            checkpoint,
            SubmodelPlan.from_dict(json.loads(line)),
            out=Path(setup["out"]),
            calibration=calibration,
            command=setup["command"],
            progress=report,
            **setup["options"],
        )
        gc.enable()
        report.say(done=True)


def main() -> int:
    """Work until standard input ends."""
    end_with_parent()
    report = Reporter(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    from edgevqa.errors import EdgeVQAError

    try:
        work(sys.stdin, report)
    except EdgeVQAError as error:
        report.say(error=str(error), kind=type(error).__name__)
        return error.exit_code
    except MemoryError:
        report.say(error="the memory does not suffice for this export", kind="EnvironmentFailure")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
