"""`edgevqa train`: a slimmable model by teacher and self-distillation."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.console import note, print_json, show_progress
from edgevqa.cli.options import FILE, examples, json_option, skip_bad_option
from edgevqa.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from edgevqa.training.recipe import Recipe


def _grid(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Rows and columns."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", value, re.ASCII)
    if not found:
        raise click.BadParameter(f"{value!r} should be rows and columns, such as 12x20")
    return int(found[1]), int(found[2])


@click.command(
    epilog=examples(
        "edgevqa train scenes --out my-scenes",
        "edgevqa train easy-vqa --teacher-steps 500 --student-steps 500 --out quick",
        "edgevqa train --data my-questions --hidden 128 --out my-model",
        "edgevqa train --data my-vqa --family uniter --start all-MiniLM-L6-v2 --out my-uniter",
        "torchrun --nproc-per-node 2 -m edgevqa train scenes --out my-scenes",
    )
)
@click.argument("dataset", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="A folder of your own questions and pictures instead.")
@click.option("--family", type=click.Choice(["mcan", "uniter", "clip-vil"]), default="mcan", help="Of the model.")
@click.option("--picture", help="With --data: pixels, features or grid.  [default: features if there are some]")
@click.option("--regions", type=click.IntRange(1, 1000), help="With features: room for so many.  [default: a sample's]")
@click.option("--side", type=click.IntRange(32, 1024), help="With pixels: height and width.  [default: 64 or 128]")
@click.option("--grid", metavar="ROWSxCOLUMNS", callback=_grid, help="Of clip-vil's features.  [default: a square]")
@click.option("--answers", type=FILE, help="With --data: an answer list instead of the one built from the data.")
@click.option("--vocabulary", type=FILE, help="A word list, likewise; for uniter and clip-vil BERT's vocab.txt.")
@skip_bad_option
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    help="For uniter and clip-vil: a language model in BERT's layout, its folder or file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Checkpoint folder; the model gets its name.  [default: ./my-<dataset>]",
)
@click.option("--hidden", type=click.IntRange(8, 4096), help="Hidden size instead of the preset's.")
@click.option("--heads", type=click.IntRange(4, 64), help="Attention heads instead of 8, a multiple of 4.")
@click.option("--layers", type=click.IntRange(1, 24), help="Layers instead of 6; for mcan of each of its two lists.")
@click.option("--batch", type=click.IntRange(1, 65536), help="Questions a step instead of the preset's.")
@click.option("--teacher-steps", type=click.IntRange(1), help="Steps of the teacher instead of the preset's.")
@click.option("--student-steps", type=click.IntRange(1), help="Steps of the distillation instead of the preset's.")
@click.option("--accumulation", type=click.IntRange(1), help="Compute a batch in so many pieces: less memory.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed instead of the preset's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(1), default=1, help="CPU threads.")
@json_option
def command(
    dataset: str | None,
    data: Path | None,
    family: str,
    picture: str | None,
    regions: int | None,
    side: int | None,
    grid: tuple[int, int] | None,
    answers: Path | None,
    vocabulary: Path | None,
    skip_bad: bool,
    start: Path | None,
    out: Path | None,
    hidden: int | None,
    heads: int | None,
    layers: int | None,
    batch: int | None,
    teacher_steps: int | None,
    student_steps: int | None,
    accumulation: int | None,
    seed: int | None,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Train a slimmable model on DATASET: a full-size teacher on the answers, then all submodels at once.

    DATASET is scenes (the default), scenes-pixels or easy-vqa. With --data it is a folder with questions in VQA-v2's or
    GQA's format and with images/ or features/; docs/data.md says how they lie there.

    Stopping it loses at most the steps since the last saved state; the same command goes on from there. Under
    torchrun, several processes or machines share every batch.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None
    from edgevqa.checkpoints import bundled_names
    from edgevqa.checkpoints.choice import Wanted, choose
    from edgevqa.checkpoints.make import make_checkpoint
    from edgevqa.data.score import ACCURACY
    from edgevqa.progress import Silent
    from edgevqa.training.processes import joined

    torch.set_num_threads(threads)
    if data is not None and dataset is not None:
        raise UsageError(f"train on {dataset} or on --data {data}, not on both")
    wanted = Wanted(family, hidden, heads, layers, start, vocabulary, picture, regions, side, grid, answers, skip_bad)
    with joined(device) as (processes, found), show_progress() as progress:
        with processes.leader_first():  # what it reads of pictures is kept for the others
            choice = choose(wanted, name=dataset, data=data, progress=progress if processes.first else Silent())
        teacher = _changed(choice.preset.teacher, teacher_steps, batch, seed, accumulation)
        student = _changed(choice.preset.student, student_steps, batch, seed, accumulation)
        made = make_checkpoint(
            choice.dataset,
            replace(choice.preset, teacher=teacher, student=student),
            out or Path(f"my-{choice.dataset.name}"),
            slimming=choice.slimming,
            start=choice.start,
            device=found,
            processes=processes,
            command=command_line(click.get_current_context()),
            tell=note,
            progress=progress,
        )
    if made is None:  # the first process tells
        return
    if as_json:
        described = {"scores": made.scores, "score": made.score_kind, "floors": made.floors}
        print_json({"folder": made.folder, **described})
        return
    what = "right answers" if made.score_kind == ACCURACY else made.score_kind
    click.echo(f"wrote {made.folder}; {what} on the test split:")
    for name, score in made.scores.items():
        click.echo(f"  {name:10} {score:6.2f} %")
    for name, floor in made.floors.items():
        click.echo(f"without the picture ({name.replace('_', '-')} floor): {floor:.1f} %")
    folder = made.folder if made.folder.is_absolute() else f"./{made.folder}"
    click.echo(f"go on with: edgevqa export --model {folder} --grid")
    if made.name in bundled_names():
        note(f"note: a bundled model is called {made.name}, too; export one of them into another folder (--out)")


def _changed(
    recipe: Recipe, steps: int | None, batch: int | None, seed: int | None, accumulation: int | None
) -> Recipe:
    return replace(
        recipe,
        steps=steps or recipe.steps,
        batch=batch or recipe.batch,
        seed=recipe.seed if seed is None else seed,
        accumulation=accumulation or recipe.accumulation,
    )


def command_line(context: click.Context) -> str:
    """The command with what was given of it, for the card: the arguments, then the options in their order."""
    words = ["edgevqa", "train"]
    left_out = ("out", "device", "threads", "as_json", "help")
    given = [parameter for parameter in context.command.params if parameter.name not in left_out]
    for parameter in sorted(given, key=lambda parameter: isinstance(parameter, click.Option)):
        value = context.params.get(parameter.name or "")
        if isinstance(parameter, click.Argument) and context.params.get("data") is None:
            words.append(str(value or "scenes"))
        elif isinstance(parameter, click.Option) and value not in (None, False, parameter.default):
            words.append(parameter.opts[0])
            if not parameter.is_flag:
                words.append("x".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return shlex.join(words)
