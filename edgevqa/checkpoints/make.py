"""From a dataset to a checkpoint folder: teacher, self-distillation, scores of every submodel, card."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgevqa.checkpoints.checks import ENTRIES, check_free, is_name
from edgevqa.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from edgevqa.checkpoints.presets import Preset
from edgevqa.data.dataset import Dataset, Split
from edgevqa.data.floors import Floors, floors
from edgevqa.data.score import ACCURACY, SCORE_WORDS, by_group, score_of
from edgevqa.errors import UsageError
from edgevqa.models.families import FAMILIES, build
from edgevqa.models.initialisation import initialise
from edgevqa.progress import Progress, Silent
from edgevqa.slimming.counting import count
from edgevqa.slimming.grid import MCAN_BST, Slimming, grid
from edgevqa.slimming.rules import slice_config
from edgevqa.slimming.slicer import slice_model
from edgevqa.storage import folder_lock, read_json, write_json
from edgevqa.training.evaluation import predict
from edgevqa.training.loop import Evaluate, Milestones, train
from edgevqa.training.processes import ALONE, Processes
from edgevqa.training.stages import OnAnswers, SelfDistillation, copy_weights

if TYPE_CHECKING:
    from edgevqa.models.families import Network

REFERENCE_QUESTIONS, FEWEST_REFERENCE_QUESTIONS = 128, 32
REFERENCE_BYTES = 96 << 20
"""Over a hundred questions of 100 x 2048 features; of larger inputs fewer are kept: they are copied to every device."""


@dataclass(frozen=True)
class Start:
    """Weights that a teacher starts from.

    Args:
        what: they are, for the card; a run that was begun from others is not gone on with.
        give: sets the weights of a model that has its fresh ones.
    """

    what: str
    give: Callable[[Network], None]


def make_checkpoint(
    dataset: Dataset,
    preset: Preset,
    out: Path,
    *,
    slimming: Slimming = MCAN_BST,
    start: Start | None = None,
    device: torch.device | None = None,
    processes: Processes = ALONE,
    milestones: Milestones | None = None,
    command: str = "",
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Checkpoint | None:
    """Train a slimmable model and write its checkpoint folder; a stopped run goes on where it was.

    Args:
        dataset: the questions.
        preset: sizes and recipes.
        out: the checkpoint folder, whose name is the model's; `<out>.training` keeps the state of the run.
        slimming: the grid to train.
        start: what the teacher starts from; fresh weights by default.
        device: where to train; the CPU by default.
        processes: this process among those of the run, see `edgevqa.training.processes.joined`.
        milestones: how often to save, tell and evaluate.
        command: the command line, for the card.
        tell: receives a line of progress now and then.
        progress: receives every step.

    Returns:
        the checkpoint; None in a process that is not the first one, which writes nothing.

    Raises:
        UsageError: the state in `<out>.training` belongs to other settings, `out` holds no checkpoint but
            something else, or its name is none for a model.
        EnvironmentFailure: another process trains there, or the folder cannot be written.
    """
    check_free(out)
    _name_of(out)
    device = device or torch.device("cpu")
    progress = progress if progress and processes.first else Silent()
    work = out.with_name(out.name + ".training")
    config = preset.config(dataset)
    plans = grid(config, slimming)
    with folder_lock(work, "training") if processes.first else contextlib.nullcontext():
        if processes.first:
            _check_data(work / "data.json", dataset, slimming, start)
        with processes.leader_first():
            questions, validation = dataset.split("train", progress), dataset.split("validation", progress)

        def scores_of(**models: Network) -> str:
            scores = {
                name: validation.key.score(predict(model, validation).argmax(1)).percent
                for name, model in models.items()
            }
            shown = ", ".join(f"{name} {score:.2f} %" for name, score in scores.items())
            return f"{'right' if dataset.score == ACCURACY else dataset.score} on the validation split: {shown}"

        teacher = build(config)
        initialise(teacher, preset.teacher.seed)
        if start is not None:
            start.give(teacher)
        evaluate: Evaluate = lambda step: scores_of(teacher=teacher)  # noqa: E731
        on_answers = OnAnswers(teacher, preset.teacher, questions.grounding)
        weights = train(
            on_answers, preset.teacher, questions, work, name="teacher", device=device, processes=processes,
            milestones=milestones, evaluate=evaluate, tell=tell, progress=progress,
        )  # fmt: skip
        student = build(config)
        copy_weights(weights, student)
        teacher.to(device)
        torch.manual_seed(preset.student.seed)  # for the readers of the grounding, also after a stop between the stages
        stage = SelfDistillation(student, teacher, plans, preset.student, len(questions), questions.grounding)
        ends = plans[0], plans[-1]
        evaluate = lambda step: scores_of(**{plan.name: slice_model(student, plan) for plan in ends})  # noqa: E731
        weights = train(
            stage, preset.student, questions, work, name="student", device=device, processes=processes,
            milestones=milestones, evaluate=evaluate, tell=tell, progress=progress,
        )  # fmt: skip
        if not processes.first:
            return None
        student.cpu()
        copy_weights(weights, student)
        return _finish(dataset, preset, out, slimming, start, student, command, progress)


def _name_of(out: Path) -> str:
    """The model's name, that of its folder; raises UsageError where artifacts could not lie below such a name."""
    name = out.absolute().name
    if not is_name(name):
        raise UsageError(f"the model is named after its folder, and {name!r} should be {ENTRIES['name']}")
    return name


def _check_data(path: Path, dataset: Dataset, slimming: Slimming, start: Start | None) -> None:
    """Note what a run trains on and from; raise UsageError when it was begun on something else."""
    data: dict[str, Any] = {"dataset": dataset.described, "slimming": slimming.to_dict()}
    if start is not None:
        data["start"] = start.what
    if not path.exists():
        write_json(path, data)
    elif read_json(path) != data:
        raise UsageError(
            f"{path.parent} is of a run on other data or another grid, or from another start; choose another --out "
            "folder"
        )


def _finish(
    dataset: Dataset,
    preset: Preset,
    out: Path,
    slimming: Slimming,
    start: Start | None,
    student: Network,
    command: str,
    progress: Progress,
) -> Checkpoint:
    """Score every submodel on the full test split and write the folder."""
    test = dataset.split("test", progress)
    scores, groups = {}, {}
    plans = grid(student.config, slimming)
    progress.start("scoring submodels", len(plans))
    for plan in plans:
        progress.step(f"scoring {plan.name}")
        predicted = predict(slice_model(student, plan), test).argmax(1)
        marks = test.key.marks(predicted)
        scores[plan.name] = round(score_of(marks, test.key.kind).percent, 3)
        groups = {kind: by_group(marks, names) for kind, names in test.groups.items()}
    progress.finish()
    lowest = floors(dataset, test)
    checkpoint = Checkpoint(
        name=_name_of(out),
        folder=out,
        config=student.config,
        slimming=slimming,
        preprocessing=dataset.preprocessing,
        vocabulary=dataset.vocabulary,
        answers=dataset.answers,
        dataset=dataset.described,
        trained=True,
        scores=scores,
        floors={"majority": round(lowest.majority, 3), "question_only": round(lowest.question_only, 3)},
        training={
            "command": command,
            "teacher": preset.teacher.to_dict(),
            "student": preset.student.to_dict(),
            "torch": torch.__version__.partition("+")[0],
            **({} if start is None else {"start": start.what}),
        },
    )
    reference = reference_questions(test, len(dataset.answers))
    card = write_card(checkpoint, len(test), lowest, groups)
    save_checkpoint(checkpoint, dict(student.state_dict()), reference, card)
    return load_checkpoint(out)


def reference_questions(test: Split, answers: int) -> dict[str, np.ndarray]:
    """The reference questions of a checkpoint, from the test split of its data: inputs, right answers and texts."""
    # Evenly spread over the test split, so that every family and many pictures are among them.
    most = max(FEWEST_REFERENCE_QUESTIONS, min(REFERENCE_QUESTIONS, REFERENCE_BYTES // test.question_bytes))
    chosen = np.linspace(0, len(test) - 1, min(most, len(test))).astype(np.int64)
    reference = {
        **test.model_inputs(chosen),
        "labels": test.answers[chosen],
        "texts": np.array([test.texts[index] for index in chosen]),
    }
    if test.key.kind != ACCURACY:
        reference["worth"] = test.key.take(chosen).dense(answers)
    return reference


def write_card(
    checkpoint: Checkpoint, questions: int, lowest: Floors, groups: Mapping[str, Mapping[str, float]] | None = None
) -> str:
    """The text of card.md: data, command, seed, and the score of every submodel beside the floors.

    Args:
        checkpoint: what the card describes.
        questions: of the test split.
        lowest: what needs no picture to reach.
        groups: scores of the full model in percent, by kind of group and group.
    """
    dataset, training = checkpoint.dataset or {}, checkpoint.training
    teacher, student = training["teacher"], training["student"]
    kind, title = checkpoint.score_kind, FAMILIES[checkpoint.config.family].title
    begun = f"that starts from {training['start']}, " if "start" in training else ""
    lines = [
        f"# {checkpoint.name}",
        "",
        f"A slimmable {title} (BST's grid of {len(checkpoint.scores)} submodels), trained on the dataset "
        f"`{dataset.get('name')}` version {dataset.get('version')}, seed {dataset.get('seed')}.",
        "",
        f"Made by `{training['command']}` with PyTorch {training['torch']}: a teacher {begun}on the answers "
        f"({teacher['steps']} steps of {teacher['batch']} questions, seed {teacher['seed']}), then sandwich "
        f"self-distillation ({student['steps']} steps, K = {student['submodels']}, seed {student['seed']}). "
        f"Optimizer {teacher['optimizer']}, grounding {teacher['grounding']:g} and {student['grounding']:g}.",
        "",
        f"{SCORE_WORDS[kind]} on the test split ({questions} questions). Always the most frequent answer: "
        f"{lowest.majority:.1f} %. The best answer without seeing the picture: {lowest.question_only:.1f} %.",
        "",
        f"| submodel | parameters | MMACs | {kind} % |",
        "| --- | ---: | ---: | ---: |",
    ]
    for plan in grid(checkpoint.config, checkpoint.slimming):
        counts = count(slice_config(checkpoint.config, plan))
        score = checkpoint.scores[plan.name]
        lines.append(f"| {plan.name} | {counts.parameters:,} | {counts.macs / 1e6:.2f} | {score:.2f} |")
    lines += ["", "Question-only floor by family: "]
    lines[-1] += ", ".join(f"{family} {floor:.0f} %" for family, floor in sorted(lowest.by_type.items())) + "."
    for name, by_name in (groups or {}).items():
        lines += ["", f"| {name} | {kind} of the full model % |", "| --- | ---: |"]
        lines += [f"| {group} | {score:.2f} |" for group, score in by_name.items()]
    return "\n".join(lines) + "\n"
