"""`edgevqa evaluate`: score exported files, or a checkpoint's submodels, on a split of their data."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.bench import folders, note_left_out, note_unsuited, unsuited_folders
from edgevqa.cli.console import Column, end, note, print_json, print_table, show_progress
from edgevqa.cli.options import (
    depth_option,
    examples,
    json_option,
    layers_of,
    names_option,
    skip_bad_option,
    width_option,
)
from edgevqa.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from edgevqa.checkpoints import Checkpoint
    from edgevqa.data.score import Score
    from edgevqa.export.manifest import Artifact
    from edgevqa.gate.compare import ScoreCheck
    from edgevqa.gate.pool import Scored
    from edgevqa.pipeline import Judged
    from edgevqa.slimming.plan import SubmodelPlan


@click.command(
    epilog=examples(
        "edgevqa evaluate",
        "edgevqa evaluate artifacts/scenes/w0.25-d2 --runtime litert",
        "edgevqa evaluate --model my-scenes --runtime torch --split validation",
        "edgevqa evaluate --questions 1000 --scheduler tcp://192.168.1.5:8786",
    )
)
@click.argument("artifacts", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"))
@click.option("--model", help="Their checkpoint, or the one to score in torch.  [default: the bundled one, or scenes]")
@click.option("--grid", "whole_grid", is_flag=True, help="Every submodel, which is the default.")
@width_option
@depth_option
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime, torch.  [default: the target's]")
@click.option("--target", help="A profile's name or file.  [default: this machine]")
@click.option("--data", type=click.Path(path_type=Path), help="Where the folder of your own data was moved to.")
@skip_bad_option
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", help="Of their data.")
@click.option("--questions", type=click.IntRange(1), help="Only this many, a fixed sample.  [default: all]")
@click.option("--workers", type=click.IntRange(1), default=2, help="Processes on this machine.")
@click.option(
    "--scheduler",
    default="auto",
    metavar="ADDRESS",
    help="A Dask scheduler (tcp://host:port); auto: Dask on this machine where it is installed; none: without Dask.",
)
@json_option
def command(
    artifacts: Path,
    model: str | None,
    whole_grid: bool,
    width: Fraction | None,
    depth: int | Fraction | None,
    runtimes: tuple[str, ...] | None,
    target: str | None,
    data: Path | None,
    skip_bad: bool,
    split: str,
    questions: int | None,
    workers: int,
    scheduler: str,
    as_json: bool,
) -> None:
    """Score the files in the folder ARTIFACTS, or with --runtime torch a checkpoint's submodels.

    Scores of files on the full test split are final. What was answered already is not answered again: a stopped
    command goes on where it was. Ends with exit code 1 when a file scores lower than its precision may.
    """
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.devices.targets import load_target
    from edgevqa.pipeline import (
        artifacts_in,
        checkpoint_of,
        evaluate,
        evaluate_checkpoint,
        left_out,
        not_for_delegate,
        this_machine,
    )

    if whole_grid and (width is not None or depth is not None):
        raise UsageError("--grid is every submodel; leave out --width and --depth, or --grid")
    chosen = this_machine() if target is None else load_target(target)
    found: list[Artifact] = []
    passed_over: list[Artifact] = []
    unsuited: dict[str, list[Artifact]] = {}
    scored: list[Scored] = []
    judged: list[Judged] = []
    in_files = None if runtimes is None else tuple(name for name in runtimes if name != "torch")
    one = width is not None or depth is not None
    with show_progress() as progress:
        if runtimes is not None and "torch" in runtimes:
            checkpoint = load_checkpoint(model or "scenes")
            scored = evaluate_checkpoint(
                checkpoint,
                [_plan(checkpoint, width, depth)] if one else None,
                split=split,
                count=questions,
                data=data,
                skip_bad=skip_bad,
                scheduler=scheduler,
                workers=workers,
                progress=progress,
            )
        if in_files is None or in_files:
            found = artifacts_in(artifacts)
            if one:
                found = [
                    each
                    for each in found
                    if each.manifest["submodel"] == _plan(checkpoint_of(each, model), width, depth).name
                ]
            passed_over = left_out(found, in_files or chosen.runtimes)
            unsuited = not_for_delegate([one for one in found if one not in passed_over], chosen)
            judged = evaluate(
                found,
                model=model,
                runtimes=in_files,
                target=chosen,
                split=split,
                count=questions,
                data=data,
                skip_bad=skip_bad,
                scheduler=scheduler,
                workers=workers,
                progress=progress,
            )
    if as_json:
        print_json(
            {
                "submodels": [each.to_dict() for each in scored],
                "verdicts": [{**each.verdict.to_dict(), "folder": each.artifact.folder} for each in judged],
                "left_out": folders(passed_over) + unsuited_folders(unsuited),
            }
        )
    else:
        _show(scored, judged, model)
        note_left_out(passed_over, len(found), in_files or chosen.runtimes)
        note_unsuited(unsuited, len(found))
    for each in judged:
        try:
            each.verdict.require()
        except GateFailed as error:
            end(error, as_json)


def _plan(checkpoint: Checkpoint, width: Fraction | None, depth: int | Fraction | None) -> SubmodelPlan:
    """The submodel of a width and a depth; what is not given is the full model's."""
    from edgevqa.slimming.grid import bst_plan

    layers = checkpoint.slimming.layers
    kept = layers if depth is None else layers_of(depth, layers)
    return bst_plan(checkpoint.config, checkpoint.slimming, width or Fraction(1), kept)


def _show(scored: list[Scored], judged: list[Judged], model: str | None) -> None:
    """Print scores for people."""
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.pipeline import checkpoint_of

    columns = [Column("score %", number=True), Column("score is"), Column("questions", number=True)]
    floors: dict[str, Checkpoint] = {}
    if scored:
        print_table(
            [Column("submodel in PyTorch"), *columns],
            [
                [f"{each.model}/{each.submodel}", _percent(each.score), each.score.kind, str(each.score.count)]
                for each in scored
            ],
        )
        floors[scored[0].model] = load_checkpoint(model or "scenes")
    if judged:
        rows = []
        for one in judged:
            found = one.verdict.score
            fp32 = None if found is None else found.fp32_percent
            rows.append(
                [
                    one.artifact.name,
                    one.runtime,
                    "-" if found is None else _percent(found),
                    "-" if found is None else found.kind,
                    "-" if found is None else str(found.count),
                    "-" if fp32 is None else f"{fp32:.2f}",
                    one.verdict.status,
                ]
            )
            floors[one.artifact.manifest["model"]] = checkpoint_of(one.artifact, model)
        headings = [Column("artifact"), Column("runtime"), *columns]
        print_table([*headings, Column("PyTorch fp32 %", number=True), Column("verdict")], rows)
    for named, checkpoint in floors.items():
        for name, floor in checkpoint.floors.items():
            click.echo(f"{name.replace('_', '-')} floor of {named}: {floor:.1f} %")
    for one in judged:
        if one.verdict.reason:
            note(f"{one.verdict.status}: {one.artifact.name} in {one.runtime}: {one.verdict.reason}")


def _percent(score: Score | ScoreCheck) -> str:
    return f"{score.percent:.2f} ± {score.standard_error:.2f}"
