"""Scores of many artifacts, several processes at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from edgevqa.checkpoints.data import DataOf
from edgevqa.devices import Target
from edgevqa.export.manifest import Artifact, load_artifact
from edgevqa.gate.gate import WORKERS
from edgevqa.gate.score import Exam, evaluate_artifact
from edgevqa.gate.verdict import Verdict
from edgevqa.progress import Progress, Silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _evaluate(
    folder: Path, data: DataOf, split: str, count: int | None, runtime: str, target: Target, fp32: NDArray[np.int64]
) -> Verdict:
    """Score one artifact in a process of its own."""
    exam = Exam(data.open().split(split), count)
    return evaluate_artifact(load_artifact(folder, verify=False), exam, runtime, target, fp32=fp32)


def evaluate_artifacts(
    pairs: Sequence[tuple[Artifact, str]],
    data: DataOf,
    split: str,
    count: int | None,
    target: Target,
    fp32: Mapping[str, NDArray[np.int64]],
    *,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Score artifacts, each in a runtime, see `evaluate_artifact`; what was scored already is not scored again.

    Args:
        pairs: artifacts with the runtimes.
        data: which data, see `edgevqa.checkpoints.data`.
        split: name of the split.
        count: questions of the fixed sample; None takes the whole split.
        target: the device; with one that is not this machine, one artifact is scored at a time.
        fp32: answers of the fp32 PyTorch submodel by submodel, see `fp32_answers`.
        workers: processes at most.
        progress: told about every artifact.

    Returns:
        the verdicts, in the order of the pairs.

    Raises:
        see `evaluate_artifact`.
    """
    progress = progress or Silent()
    progress.start("scoring", len(pairs))
    arguments = [
        (artifact.folder, data, split, count, runtime, target, fp32[artifact.manifest["submodel"]])
        for artifact, runtime in pairs
    ]
    verdicts: dict[int, Verdict] = {}
    # Forked children of a process with runtimes' threads may hang; spawned ones start clean.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers if target.kind == "local" else 1, mp_context=context)
    try:
        running = {pool.submit(_evaluate, *one): place for place, one in enumerate(arguments)}
        for future in as_completed(running):
            place = running[future]
            verdicts[place] = future.result()
            artifact, runtime = pairs[place]
            progress.step(f"score: {artifact.name} in {runtime}")
    finally:
        pool.shutdown(cancel_futures=True)
        progress.finish()
    return [verdicts[place] for place in range(len(pairs))]
