"""The steps as functions: what the commands and `import edgevqa` offer; each goes on where it was stopped."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.checkpoints.data import DataOf
from edgevqa.checkpoints.trim import FOLDER as TRIMMED_FOLDER
from edgevqa.checkpoints.trim import TRIMMED, read_text, trim_vocabulary
from edgevqa.devices import Target, find_profiles, load_target, open_transport, profile_folder
from edgevqa.devices.benchmark_model import find_tool
from edgevqa.devices.jobs import probe
from edgevqa.devices.patience import Patience
from edgevqa.devices.shell import ShellTransport
from edgevqa.errors import UsageError
from edgevqa.export.manifest import Artifact, find_artifacts
from edgevqa.export.pool import export_many
from edgevqa.export.quantize import schemes_for_gpu
from edgevqa.gate.executors import AUTO, PROCESSES, WORKERS, open_executor
from edgevqa.gate.gate import quick_gate, quick_gates
from edgevqa.gate.pool import Scored, evaluate_artifacts, evaluate_submodels, submodel_answers
from edgevqa.gate.score import SAMPLE, Exam
from edgevqa.gate.verdict import Verdict
from edgevqa.measure.bench import SWEEP, Threads
from edgevqa.measure.bench import bench as measure
from edgevqa.measure.cells import fitting_runtimes, why_not_on
from edgevqa.measure.fleet import WAIT_S, Outcome, measure_fleet
from edgevqa.measure.record import Record
from edgevqa.measure.tool import JUDGE, measure_with_tool
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import ON_CPU, RUNTIMES, get_delegates, get_runtime
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
    shipped = sorted(profile_folder().glob("*.toml"))  # a user's own of that name may be of a board
    for path in (*find_profiles().values(), *shipped):
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


def left_out(artifacts: Sequence[Artifact], runtimes: Sequence[str]) -> list[Artifact]:
    """The artifacts that are for none of these runtimes, so that `evaluate` and `bench` pass them over."""
    taken = {artifact.folder for artifact, _name in intended_pairs(artifacts, runtimes)}
    return [artifact for artifact in artifacts if artifact.folder not in taken]


def not_for_delegate(artifacts: Sequence[Artifact], target: Target) -> dict[str, list[Artifact]]:
    """The artifacts that a target's delegate does not take whole, by the reason; `bench` passes them over."""
    found: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        reason = why_not_on(artifact, target)
        if reason:
            found.setdefault(reason, []).append(artifact)
    return found


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
    vocabulary: Path | None = None,
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
        vocabulary: a text file with the words that the files shall know, see `edgevqa.checkpoints.trim`; their model
            has a name of its own then.
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
    if target.delegate not in ON_CPU and schemes == "auto":
        opened = {RUNTIMES[name].format for name in names if target.delegate in get_delegates(name)}
        if unfit := [name for name in formats if name not in opened]:
            raise UsageError(f"{target.name} computes on {target.delegate}; leave out --format {','.join(unfit)}")
        schemes = schemes_for_gpu(formats, precisions) or "auto"
    transport = open_transport(target)
    if target.kind != "local":
        probe(target, None, transport)  # a target that is not there is found before the work
    if vocabulary is not None:
        checkpoint = trim_vocabulary(checkpoint, read_text(vocabulary), out)
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
    verdicts = quick_gates(pairs, target, transport=transport, progress=progress)
    return [Judged(artifact, name, verdict) for (artifact, name), verdict in zip(pairs, verdicts, strict=True)]


def evaluate(
    artifacts: Sequence[Artifact],
    *,
    model: str | Path | None = None,
    runtimes: Sequence[str] | None = None,
    target: Target | None = None,
    split: str = "test",
    count: int | None = None,
    data: Path | None = None,
    skip_bad: bool = False,
    scheduler: str = AUTO,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> list[Judged]:
    """Score artifacts on a split of their model's data; a score is final when the whole test split was asked.

    Args:
        artifacts: what is scored; of one model when `model` is given.
        model: the checkpoint that they were exported from, by name or folder; by default the bundled ones.
        runtimes: in which runtimes; the target's by default.
        target: where; this machine by default.
        split: "test", or one whose scores go into no verdict.
        count: questions of the fixed sample; None takes all.
        data: where the folder of a user's own data is now, when it was moved since the training.
        skip_bad: whether entries of it that cannot be used are left out, and told.
        scheduler: where questions are answered, see `edgevqa.gate.executors.open_executor`.
        workers: processes on this machine.
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
    pairs = [
        (artifact, name)
        for artifact, name in intended_pairs(artifacts, runtimes or target.runtimes)
        if name in fitting_runtimes(artifact, target, (name,))
    ]
    if not pairs:
        asked = ", ".join(runtimes or target.runtimes)
        raise UsageError(f"none of these {len(artifacts)} files is for {asked}; export one, or name another runtime")
    open_transport(target)
    judged: list[Judged] = []
    with open_executor(scheduler, workers) as executor:
        for name in names:
            own = [pair for pair in pairs if pair[0].manifest["model"] == name]
            checkpoint = checkpoint_of(own[0][0], model)
            for artifact, _ in own:
                if artifact.manifest["model_sha256"] != checkpoint.sha256:
                    raise UsageError(
                        f"{artifact.name} was exported from other weights than {checkpoint.folder} has; "
                        "name its checkpoint"
                    )
            exam = exam_for(checkpoint, split, count, progress, data, skip_bad)
            plans = {one.manifest["submodel"]: SubmodelPlan.from_dict(one.manifest["plan"]) for one, _ in own}
            fp32 = submodel_answers(
                checkpoint,
                list(plans.values()),
                exam,
                executor,
                keep_in=own[0][0].folder.absolute().parents[1],
                progress=progress,
            )
            verdicts = evaluate_artifacts(own, exam, target, fp32, executor, progress=progress)
            judged += [Judged(*pair, verdict) for pair, verdict in zip(own, verdicts, strict=True)]
    return judged


def evaluate_checkpoint(
    model: str | Path | Checkpoint,
    plans: Sequence[SubmodelPlan] | None = None,
    *,
    split: str = "test",
    count: int | None = None,
    data: Path | None = None,
    skip_bad: bool = False,
    scheduler: str = AUTO,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> list[Scored]:
    """Score submodels of a checkpoint in PyTorch; `plans` are those of its grid by default, the rest as in `evaluate`.

    Raises:
        UsageError: there is no such checkpoint, or a plan does not fit it.
        InputError: the checkpoint is broken, or names no dataset that it can be scored on.
    """
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    progress = progress or Silent()
    if plans is None:
        plans = grid(checkpoint.config, checkpoint.slimming)
    exam = exam_for(checkpoint, split, count, progress, data, skip_bad)
    with open_executor(scheduler, workers) as executor:
        return evaluate_submodels(checkpoint, plans, exam, executor, progress=progress)


def checkpoint_of(artifact: Artifact, model: str | Path | None = None) -> Checkpoint:
    """The checkpoint that an artifact was exported from: `model`, else the trimmed one beside it, else a bundled one.

    Raises UsageError when there is none.
    """
    beside = artifact.folder.absolute().parents[1] / TRIMMED_FOLDER
    if model is None and TRIMMED in artifact.manifest["preprocessing"] and beside.is_dir():
        return load_checkpoint(beside)
    return load_checkpoint(model or artifact.manifest["model"])


def exam_for(
    checkpoint: Checkpoint,
    split: str,
    count: int | None,
    progress: Progress,
    data: Path | None = None,
    skip_bad: bool = False,
) -> Exam:
    """The questions that a checkpoint is scored on, in its own words.

    Args:
        checkpoint: the model.
        split: of its data.
        count: questions of the fixed sample; None takes all.
        progress: told about data that is made.
        data: see `evaluate`.
        skip_bad: see `evaluate`.

    Raises:
        InputError: it names no dataset, another version of it than is here, or a folder that is gone or changed.
        UsageError: the dataset has no such split.
    """
    found = DataOf(checkpoint, data, skip_bad)
    return Exam(found.split(split, progress), count, None if found.named else found)


def bench(
    artifacts: Sequence[Artifact],
    *,
    target: Target | None = None,
    runtimes: Sequence[str] | None = None,
    protocol: str | None = None,
    threads: Threads | None = None,
    results: Path = RESULTS,
    wait_s: float = 0.0,
    progress: Progress | None = None,
) -> list[Record]:
    """Gate and measure artifacts on a target, see `edgevqa.measure.bench.bench`.

    A device that goes away is waited for up to `wait_s` seconds; what it was doing then is done once more. A target
    that has the official `benchmark_model` is timed by it, see `edgevqa.measure.tool.measure_with_tool`.
    """
    target, progress = target or this_machine(), progress or Silent()
    transport = open_transport(target)
    if isinstance(transport, ShellTransport):
        transport.patience = Patience(wait_s, lambda text: progress.step(text, 0))
    versions: dict[str, str | None] = {}

    def gate(artifact: Artifact, runtime: str, target: Target) -> Verdict:
        """Judge on the device that is timed, and again when its runtime is another one than before."""
        if target.kind != "local" and runtime not in versions:
            versions[runtime] = probe(target, runtime, transport)["runtimes"][runtime]
        return quick_gate(artifact, runtime, target, transport=transport, runtime_version=versions.get(runtime))

    tool = find_tool(target)
    if tool is not None and (runtimes is None or JUDGE in runtimes):
        return measure_with_tool(
            artifacts,
            target,
            tool,
            gate=gate,
            transport=transport,
            results=results,
            protocol=protocol,
            threads=None if threads == SWEEP else threads,  # a GPU does the work
            progress=progress,
        )
    return measure(
        artifacts,
        target,
        gate=gate,
        transport=transport,
        results=results,
        runtimes=runtimes,
        protocol=protocol,
        threads=threads,
        progress=progress,
    )


def bench_fleet(
    artifacts: Sequence[Artifact],
    targets: Sequence[Target],
    *,
    runtimes: Sequence[str] | None = None,
    protocol: str | None = None,
    threads: Threads | None = None,
    results: Path = RESULTS,
    wait_s: float = WAIT_S,
    progress: Mapping[str, Progress] | None = None,
) -> list[Outcome]:
    """Gate and measure artifacts on several targets at once, see `bench` and `edgevqa.measure.fleet.measure_fleet`."""

    def measure_one(target: Target, progress: Progress) -> list[Record]:
        return bench(
            artifacts,
            target=target,
            runtimes=runtimes,
            protocol=protocol,
            threads=threads,
            results=results,
            wait_s=wait_s,
            progress=progress,
        )

    return measure_fleet(targets, measure_one, progress)


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
    evaluate(made, target=target, count=questions, scheduler=PROCESSES, progress=progress)
    bench(made, target=target, protocol=protocol, results=results, progress=progress)
    return pareto(results, target=target.name)
