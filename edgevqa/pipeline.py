"""The steps as functions: what the commands and `import edgevqa` offer; each goes on where it was stopped."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.checkpoints.data import DataOf
from edgevqa.devices import Target, find_profiles, load_target, open_transport
from edgevqa.errors import UsageError
from edgevqa.export.manifest import Artifact, find_artifacts
from edgevqa.export.pool import export_many
from edgevqa.gate.gate import quick_gate, quick_gates
from edgevqa.gate.pool import evaluate_artifacts
from edgevqa.gate.score import SAMPLE, Exam, fp32_answers
from edgevqa.gate.verdict import Verdict
from edgevqa.measure.bench import bench as measure
from edgevqa.measure.record import Record
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import RUNTIMES, get_runtime
from edgevqa.slimming.grid import grid
from edgevqa.slimming.plan import SubmodelPlan

if TYPE_CHECKING:
    from edgevqa.results.summary import Summary

ARTIFACTS = Path("artifacts")
RESULTS = Path("results")
DEMO_MODEL = "scenes"


@dataclass(frozen=True)
class Judged:
    """An artifact with a runtime's verdict about it."""

    artifact: Artifact
    runtime: str
    verdict: Verdict


def this_machine() -> Target:
    """The profile of the machine that runs this; raises UsageError when none fits."""
    for path in find_profiles().values():
        target = load_target(path)
        if target.kind == "local" and target.machine == platform.machine():
            return target
    raise UsageError(f"no target profile is for this machine ({platform.machine()}); write one and name it")


def intended_pairs(artifacts: Sequence[Artifact], runtimes: Sequence[str] | None = None) -> list[tuple[Artifact, str]]:
    """Every artifact with every runtime that it is intended for, or with those of `runtimes` that can open it."""
    if runtimes is None:
        runtimes = tuple(RUNTIMES)
    chosen = [get_runtime(name) for name in runtimes]
    return [
        (artifact, runtime.name)
        for artifact in artifacts
        for runtime in chosen
        if runtime.format == artifact.manifest["format"] and runtime.name in artifact.manifest["runtimes"]
    ]


def export(
    model: str | Path | Checkpoint,
    plans: Sequence[SubmodelPlan],
    *,
    formats: Sequence[str] = ("onnx", "tflite"),
    precisions: Sequence[str] = ("fp32",),
    schemes: str | Sequence[str] = "auto",
    runtimes: Sequence[str] | None = None,
    out: Path = ARTIFACTS,
    target: Target | None = None,
    gated_in: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Judged]:
    """Slice, export, quantize and gate submodels; what is there already is neither made nor judged again.

    Args:
        model: a bundled model's name, a checkpoint folder, or a checkpoint.
        plans: the submodels.
        formats: of `onnx`, `tflite`.
        precisions: of `fp32`, `fp16`, `int8`.
        schemes: "auto" or names of quantization schemes, see `edgevqa.export.quantize.SCHEMES`.
        runtimes: make what is best for each of these runtimes instead of each format's default.
        out: the folder of artifacts.
        target: where the gate runs; this machine by default.
        gated_in: the runtimes of the gate; by default the target's and those of `runtimes`.
        progress: told about every file.

    Returns:
        every artifact with the verdict of each runtime that it is intended for; a `failed` one is not an error here.

    Raises:
        see `edgevqa.export.exporter.export_submodel` and `edgevqa.gate.gate.quick_gate`.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    target = target or this_machine()
    names = gated_in or tuple(dict.fromkeys((*target.runtimes, *(runtimes or ()))))
    for name in names:
        get_runtime(name)
    open_transport(target)  # a target that is not there is found before the work
    artifacts = export_many(
        checkpoint,
        plans,
        formats=formats,
        precisions=precisions,
        out=out,
        schemes=schemes,
        runtimes=runtimes,
        progress=progress,
    )
    pairs: list[tuple[Artifact, str]] = []
    for artifact in artifacts:
        # A file that is for none of them is gated in its own runtimes: none is handed out without a verdict.
        pairs += intended_pairs([artifact], names) or intended_pairs([artifact])
    verdicts = quick_gates(pairs, target, progress=progress)
    return [Judged(artifact, name, verdict) for (artifact, name), verdict in zip(pairs, verdicts, strict=True)]


def evaluate(
    artifacts: Sequence[Artifact],
    *,
    model: str | Path | None = None,
    runtimes: Sequence[str] | None = None,
    target: Target | None = None,
    count: int | None = None,
    data: Path | None = None,
    progress: Progress | None = None,
) -> list[Judged]:
    """Score artifacts on their model's test split; a score is final when the whole split was asked.

    Args:
        artifacts: what is scored; of one model when `model` is given.
        model: the checkpoint that they were exported from, by name or folder; by default the bundled ones.
        runtimes: in which runtimes; the target's by default.
        target: where; this machine by default.
        count: questions of the fixed sample; None takes all.
        data: where the folder of a user's own data is now, when it was moved since the training.
        progress: told about every submodel and artifact.

    Raises:
        UsageError: the artifacts are of several models, not of this checkpoint, or none is for these runtimes.
        InputError: the model names no dataset that it can be scored on.
    """
    progress = progress or Silent()
    target = target or this_machine()
    names = list(dict.fromkeys(artifact.manifest["model"] for artifact in artifacts))
    if model is not None and len(names) > 1:
        raise UsageError(f"{model} is the checkpoint of one model; these artifacts are of {', '.join(names)}")
    pairs = intended_pairs(artifacts, runtimes or target.runtimes)
    if not pairs:
        asked = ", ".join(runtimes or target.runtimes)
        raise UsageError(f"none of these {len(artifacts)} files is for {asked}; export one, or name another runtime")
    open_transport(target)
    judged: list[Judged] = []
    for name in names:
        own = [pair for pair in pairs if pair[0].manifest["model"] == name]
        judged += _evaluate_model(DataOf(load_checkpoint(model or name), data), own, target, count, progress)
    return judged


def _evaluate_model(
    data: DataOf,
    pairs: Sequence[tuple[Artifact, str]],
    target: Target,
    count: int | None,
    progress: Progress,
) -> list[Judged]:
    """Score artifacts of one model, each in a runtime, see `evaluate`."""
    checkpoint = data.checkpoint
    exam = Exam(data.open().split("test", progress), count)
    submodels: dict[str, Artifact] = {}
    for artifact, _name in pairs:
        if artifact.manifest["model_sha256"] != checkpoint.sha256:
            raise UsageError(
                f"{artifact.name} was exported from other weights than {checkpoint.folder} has; name its checkpoint"
            )
        submodels.setdefault(artifact.manifest["submodel"], artifact)
    progress.start("answering in PyTorch", len(submodels))
    fp32 = {}
    for name, artifact in submodels.items():
        progress.step(f"PyTorch: {name}")
        plan = SubmodelPlan.from_dict(artifact.manifest["plan"])
        fp32[name] = fp32_answers(checkpoint, plan, exam, keep_in=artifact.folder.parent)
    progress.finish()
    verdicts = evaluate_artifacts(pairs, data, "test", count, target, fp32, progress=progress)
    return [Judged(artifact, name, verdict) for (artifact, name), verdict in zip(pairs, verdicts, strict=True)]


def bench(
    artifacts: Sequence[Artifact],
    *,
    target: Target | None = None,
    runtimes: Sequence[str] | None = None,
    protocol: str | None = None,
    threads: Sequence[int] | None = None,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> list[Record]:
    """Gate and measure artifacts on a target, see `edgevqa.measure.bench.bench`."""
    return measure(
        artifacts,
        target or this_machine(),
        gate=quick_gate,
        results=results,
        runtimes=runtimes,
        protocol=protocol,
        threads=threads,
        progress=progress,
    )


def pareto(results: Path = RESULTS, *, target: str | None = None, include_emulated: bool = False) -> Summary:
    """Fronts, CSV and plot from what was measured, see `edgevqa.results.summary.summarise`."""
    from edgevqa.results.summary import summarise

    return summarise(results, target=target, include_emulated=include_emulated)


def artifacts_in(root: Path) -> list[Artifact]:
    """The artifacts below a folder; raises UsageError when there are none."""
    found = find_artifacts(root) if root.is_dir() else []
    if not found:
        raise UsageError(f"there are no artifacts in {root}; make some with: edgevqa export --grid --out {root}")
    return found


def demo(
    *,
    artifacts: Path = ARTIFACTS,
    results: Path = RESULTS,
    questions: int = SAMPLE,
    protocol: str = "quick",
    progress: Progress | None = None,
) -> Summary:
    """The whole chain on the bundled model and this machine: all submodels, ONNX and TFLite, fp32 and int8.

    Args:
        artifacts: where files go.
        results: where measurements go.
        questions: of the fixed sample of test questions on which every file is scored.
        protocol: how long to measure.
        progress: told about every step.
    """
    checkpoint = load_checkpoint(DEMO_MODEL)
    target = this_machine()
    judged = export(
        checkpoint,
        grid(checkpoint.config, checkpoint.slimming),
        precisions=("fp32", "int8"),
        out=artifacts,
        target=target,
        progress=progress,
    )
    made = list({one.artifact.folder: one.artifact for one in judged}.values())
    evaluate(made, target=target, count=questions, progress=progress)
    bench(made, target=target, protocol=protocol, results=results, progress=progress)
    return pareto(results, target=target.name)
