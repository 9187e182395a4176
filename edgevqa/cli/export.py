"""`edgevqa export`: slice, export, quantize and gate submodels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.console import Column, end, note, print_json, print_table, show_progress
from edgevqa.cli.options import depth_option, examples, json_option, layers_of, names_option, width_option
from edgevqa.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from edgevqa.checkpoints import Checkpoint
    from edgevqa.pipeline import Judged
    from edgevqa.slimming.plan import SubmodelPlan


@click.command(
    epilog=examples(
        "edgevqa export --width 0.25 --depth 2",
        "edgevqa export --grid --precision fp32,int8",
        "edgevqa export --width 0.25 --depth 1 --vocabulary words.txt",
        "edgevqa export --model my-checkpoint --width 1/2 --depth 6/6 --format tflite --precision int8",
    )
)
@click.option("--model", default="scenes", help="A bundled model or a checkpoint folder.")
@width_option
@depth_option
@click.option("--grid", "whole_grid", is_flag=True, help="Every submodel of the model.")
@click.option("--any", "any_pair", is_flag=True, help="Allow pairs that the triangle filter leaves out.")
@names_option("--format", "formats", "onnx,tflite", "Of onnx, tflite.")
@names_option("--precision", "precisions", "fp32", "Of fp32, fp16, int8.")
@names_option("--scheme", "schemes", None, "Quantization schemes instead of the defaults, such as static.")
@names_option("--runtime", "runtimes", None, "Make what is best for these runtimes, such as tflite_runtime.")
@click.option(
    "--vocabulary",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Keep only the words in this text file (also whole questions): a smaller embedding, the same answers.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"), help="Where to.")
@click.option("--target", help="Profile of the device that the gate runs on.  [default: this machine]")
@json_option
def command(
    model: str,
    width: Fraction | None,
    depth: int | Fraction | None,
    whole_grid: bool,
    any_pair: bool,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    schemes: tuple[str, ...] | None,
    runtimes: tuple[str, ...] | None,
    vocabulary: Path | None,
    out: Path,
    target: str | None,
    as_json: bool,
) -> None:
    """Slice, export, quantize and gate submodels.

    Without --width, --depth and --grid the full model is exported. What is there already and would come out the same
    is not made again. Ends with exit code 1 when a file fails the gate.
    """
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.checkpoints.trim import TRIMMED
    from edgevqa.devices.targets import load_target
    from edgevqa.pipeline import export

    checkpoint = load_checkpoint(model)
    plans = _plans(checkpoint, width, depth, whole_grid, any_pair)
    with show_progress() as progress:
        judged = export(
            checkpoint,
            plans,
            formats=formats,
            precisions=precisions,
            schemes=schemes or "auto",
            runtimes=runtimes,
            out=out,
            target=None if target is None else load_target(target),
            vocabulary=vocabulary,
            progress=progress,
        )
    if vocabulary is not None and judged:
        trimmed = judged[0].artifact.manifest["preprocessing"][TRIMMED]
        note(
            f"{trimmed['words']} of {trimmed['all_words']} words stay; "
            f"{trimmed['reference_questions_dropped']} reference questions use others and are left out"
        )
    if as_json:
        print_json([{**one.verdict.to_dict(), "folder": one.artifact.folder} for one in judged])
    else:
        show(judged)
    for one in judged:
        try:
            one.verdict.require()
        except GateFailed as error:
            end(error, as_json)


def _plans(
    checkpoint: Checkpoint, width: Fraction | None, depth: int | Fraction | None, whole_grid: bool, any_pair: bool
) -> list[SubmodelPlan]:
    from edgevqa.slimming.grid import bst_plan, grid

    if whole_grid:
        if width is not None or depth is not None:
            raise UsageError("--grid is every submodel; leave out --width and --depth, or --grid")
        return grid(checkpoint.config, checkpoint.slimming, filtered=not any_pair)
    layers = checkpoint.slimming.layers
    kept = layers if depth is None else layers_of(depth, layers)
    return [bst_plan(checkpoint.config, checkpoint.slimming, width or Fraction(1), kept, filtered=not any_pair)]


def show(judged: list[Judged]) -> None:
    """Print artifacts and verdicts for people."""
    columns = [
        Column("artifact"), Column("MB", number=True), Column("runtime"), Column("logit difference", number=True),
        Column("tolerance", number=True), Column("verdict"),
    ]  # fmt: skip
    rows = []
    for one in judged:
        parity = one.verdict.parity
        rows.append(
            [
                str(one.artifact.folder),
                f"{one.artifact.manifest['file_bytes'] / 1e6:.2f}",
                one.runtime,
                "-" if parity is None else f"{parity.relative:.1e}",
                "-" if parity is None else f"{parity.tolerance:g}",
                one.verdict.status,
            ]
        )
    print_table(columns, rows)
    for one in judged:
        if one.verdict.reason:
            note(f"{one.verdict.status}: {one.artifact.name} in {one.runtime}: {one.verdict.reason}")
