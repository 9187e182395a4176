"""`edgevqa train`: a slimmable model by teacher and self-distillation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.console import note, print_json, show_progress
from edgevqa.cli.options import examples, json_option
from edgevqa.errors import MissingExtra

if TYPE_CHECKING:
    from edgevqa.training.recipe import Recipe


@click.command(
    epilog=examples(
        "edgevqa train scenes --out my-scenes",
        "edgevqa train easy-vqa --teacher-steps 500 --student-steps 500 --out quick",
        "torchrun --nproc-per-node 2 -m edgevqa train scenes --out my-scenes",
    )
)
@click.argument("dataset", default="scenes")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Checkpoint folder; the model gets its name.  [default: ./my-<dataset>]",
)
@click.option("--teacher-steps", type=click.IntRange(1), help="Steps of the teacher instead of the preset's.")
@click.option("--student-steps", type=click.IntRange(1), help="Steps of the distillation instead of the preset's.")
@click.option("--accumulation", type=click.IntRange(1), help="Compute a batch in so many pieces: less memory.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed instead of the preset's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to train.")
@click.option("--threads", type=click.IntRange(1), default=1, help="CPU threads.")
@json_option
def command(
    dataset: str,
    out: Path | None,
    teacher_steps: int | None,
    student_steps: int | None,
    accumulation: int | None,
    seed: int | None,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Train a slimmable model on DATASET: a full-size teacher on the answers, then all submodels at once.

    Stopping it loses at most the steps since the last saved state; the same command goes on from there. Under
    torchrun, several processes or machines share every batch.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None
    from edgevqa.checkpoints import bundled_names
    from edgevqa.checkpoints.make import make_checkpoint
    from edgevqa.checkpoints.presets import preset
    from edgevqa.data.dataset import load_dataset
    from edgevqa.training.processes import joined

    torch.set_num_threads(threads)
    chosen = preset(dataset)
    teacher = _changed(chosen.teacher, teacher_steps, seed, accumulation)
    student = _changed(chosen.student, student_steps, seed, accumulation)
    with joined(device) as (processes, found), show_progress() as progress:
        made = make_checkpoint(
            load_dataset(dataset),
            replace(chosen, teacher=teacher, student=student),
            out or Path(f"my-{dataset}"),
            device=found,
            processes=processes,
            command=f"edgevqa train {dataset}" + _changes(teacher_steps, student_steps, seed),
            tell=note,
            progress=progress,
        )
    if made is None:  # the first process tells
        return
    if as_json:
        print_json({"folder": made.folder, "scores": made.scores, "floors": made.floors})
        return
    click.echo(f"wrote {made.folder}; right answers on the test split:")
    for name, score in made.scores.items():
        click.echo(f"  {name:10} {score:6.2f} %")
    for name, floor in made.floors.items():
        click.echo(f"without the picture ({name.replace('_', '-')} floor): {floor:.1f} %")
    folder = made.folder if made.folder.is_absolute() else f"./{made.folder}"
    click.echo(f"go on with: edgevqa export --model {folder} --grid")
    if made.name in bundled_names():
        note(f"note: a bundled model is called {made.name}, too; export one of them into another folder (--out)")


def _changed(recipe: Recipe, steps: int | None, seed: int | None, accumulation: int | None) -> Recipe:
    return replace(
        recipe,
        steps=steps or recipe.steps,
        seed=recipe.seed if seed is None else seed,
        accumulation=accumulation or recipe.accumulation,
    )


def _changes(teacher_steps: int | None, student_steps: int | None, seed: int | None) -> str:
    options = {"--teacher-steps": teacher_steps, "--student-steps": student_steps, "--seed": seed}
    return "".join(f" {name} {value}" for name, value in options.items() if value is not None)
