"""Export of many submodels in a few processes of their own.

The processes keep torch and the converters, with what they print, out of the calling process. A process is ended
with its parent, and leaves behind nothing but what the next export removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgevqa import errors
from edgevqa.errors import EdgeVQAError, EnvironmentFailure
from edgevqa.export.exporter import plan_jobs, remove_abandoned, share_reference, this_command
from edgevqa.export.manifest import Artifact, load_artifact
from edgevqa.export.quantize import choose_schemes
from edgevqa.export.reference import calibration_inputs, check_inputs
from edgevqa.progress import Progress, Silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint
    from edgevqa.slimming.plan import SubmodelPlan

WORKERS = 2
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """A running export process, see `worker.py`."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, "1"),
            "PYTHONPATH": os.pathsep.join(paths),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "ORT_DISABLE_TELEMETRY": "1",
            "EDGEVQA_PARENT": str(os.getpid()),
        }
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgevqa.export.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches only the parent, which ends its workers
            text=True,
            encoding="utf-8",
        )
        self._send(setup)

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is found when its answers are read
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def export(self, plan: SubmodelPlan) -> Iterator[tuple[str, int]]:
        """Export a submodel; yields what was done and how many files that is.

        Raises:
            EdgeVQAError: what the process reported, or that it ended.
        """
        assert self._process.stdout is not None
        self._send(plan.to_dict())
        for line in self._process.stdout:
            answer = json.loads(line)
            if "done" in answer:
                return
            if "error" in answer:
                raise _error(answer["kind"], answer["error"])
            yield answer["step"], answer["amount"]
        raise EnvironmentFailure(self._explain(plan))

    def _explain(self, plan: SubmodelPlan) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        why = f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
        if code == -signal.SIGKILL:
            why = "was killed, perhaps because the memory did not suffice"
        last = f"; its last words: {lines[-1][:300]}" if lines else ""
        return f"the process that exported {plan.name} {why}{last}"

    def end(self) -> None:
        """Kill the process with all it started; what it was writing is removed by the next export."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def _error(kind: str, text: str) -> EdgeVQAError:
    """The error that a worker reported."""
    found = getattr(errors, kind, EnvironmentFailure)
    if found is errors.MissingExtra:
        found = EnvironmentFailure
    error: EdgeVQAError = found(text)
    return error


def export_many(
    checkpoint: Checkpoint,
    plans: Sequence[SubmodelPlan],
    *,
    formats: Sequence[str] = ("onnx", "tflite"),
    precisions: Sequence[str] = ("fp32",),
    out: Path = Path("artifacts"),
    schemes: str | Sequence[str] = "auto",
    runtimes: Sequence[str] | None = None,
    calibration: Mapping[str, NDArray[Any]] | None = None,
    workers: int = WORKERS,
    command: str | None = None,
    progress: Progress | None = None,
) -> list[Artifact]:
    """Export submodels in up to `workers` processes, the largest first; what is there already is not made again.

    Args:
        checkpoint: the slimmable model, from a folder.
        plans: the submodels.
        formats: of `onnx`, `tflite`.
        precisions: of `fp32`, `fp16`, `int8`.
        out: the folder of artifacts.
        schemes: see `edgevqa.export.quantize.choose_schemes`.
        runtimes: make what is best for each of these runtimes instead of each format's default.
        calibration: inputs for schemes that need some; by default questions of the training split.
        workers: how many processes at most.
        command: what the manifests give as the command; by default this process's command line.
        progress: told about every file.

    Returns:
        the artifacts, in the order of plans, formats and precisions.

    Raises:
        EdgeVQAError: see `edgevqa.export.exporter.export_submodel`; what was finished until then is kept.
    """
    progress = progress or Silent()
    chosen = choose_schemes(formats, precisions, schemes, runtimes)
    if calibration is None and any(scheme.needs_calibration for scheme in chosen):
        calibration = calibration_inputs(checkpoint)
    if calibration is not None:
        check_inputs(calibration, checkpoint.config, "the calibration")
    jobs = {plan.name: plan_jobs(checkpoint, plan, chosen, out, calibration) for plan in plans}
    total = sum(map(len, jobs.values()))
    progress.start("exporting", total)
    try:
        missing = [plan for plan in plans if any(job.current() is None for job in jobs[plan.name])]
        progress.step("already there", total - sum(len(jobs[plan.name]) for plan in missing))
        for plan in plans:
            if plan not in missing:  # killed between its last file and its own tidying
                remove_abandoned(jobs[plan.name][0].folder.parent)
        if missing:
            share_reference(checkpoint, out)
            missing.sort(key=lambda plan: jobs[plan.name][0].known["macs"], reverse=True)
            with tempfile.TemporaryDirectory(prefix="edgevqa-export-") as folder:
                setup = {
                    "checkpoint": str(checkpoint.folder.absolute()),
                    "out": str(Path(out).absolute()),
                    "calibration": _save(calibration, Path(folder)),
                    "command": command or this_command(),
                    "options": {
                        "formats": list(formats),
                        "precisions": list(precisions),
                        "schemes": schemes if isinstance(schemes, str) else list(schemes),
                        "runtimes": None if runtimes is None else list(runtimes),
                    },
                }
                _export_all(missing, setup, min(workers, len(missing), os.cpu_count() or 1), progress)
        return [load_artifact(job.folder, verify=False) for plan in plans for job in jobs[plan.name]]
    finally:
        progress.finish()


def _save(calibration: Mapping[str, NDArray[Any]] | None, folder: Path) -> str | None:
    if calibration is None:
        return None
    import numpy as np

    path = folder / "calibration.npz"
    np.savez(path, **dict(calibration))  # type: ignore[arg-type]
    return str(path)


def _export_all(plans: Sequence[SubmodelPlan], setup: Mapping[str, Any], count: int, progress: Progress) -> None:
    waiting: queue.SimpleQueue[SubmodelPlan] = queue.SimpleQueue()
    for plan in plans:
        waiting.put(plan)
    lock = threading.Lock()

    def drive(worker: Worker) -> None:
        while True:
            try:
                plan = waiting.get_nowait()
            except queue.Empty:
                return
            for description, amount in worker.export(plan):
                with lock:
                    progress.step(description, amount)

    running = [Worker(setup) for _ in range(max(count, 1))]
    threads = ThreadPoolExecutor(len(running))
    try:
        done, _ = wait([threads.submit(drive, worker) for worker in running], return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        for worker in running:
            worker.end()
        threads.shutdown()
