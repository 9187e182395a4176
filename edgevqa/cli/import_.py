"""`edgevqa import`: a published checkpoint to a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import click

from edgevqa.cli.console import note, print_json, show_progress
from edgevqa.cli.options import examples, json_option

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "edgevqa import mcan-bst epoch15.pkl --out mcan-bst",
        "edgevqa import mcan-bst gqa.pkl --vocabulary dicts.json --answers dicts.json --out mcan-bst-gqa",
        "edgevqa import mcan best_model.pkl --vocabulary token_to_ix.json --answers answer_dict.json",
    )
)
@click.argument("kind")
@click.argument("file", type=FILE)
@click.option("--out", type=click.Path(path_type=Path), help="Checkpoint folder.  [default: ./KIND]")
@click.option("--vocabulary", type=FILE, help="The project's word list; without it the model cannot be asked.")
@click.option("--answers", type=FILE, help="The project's answer list; without it the model cannot be asked.")
@click.option("--heads", type=click.IntRange(1), help="Attention heads.  [default: the authors' 8]")
@click.option("--regions", type=click.IntRange(1, 1000), default=100, help="Regions of a picture.")
@click.option("--question-length", type=click.IntRange(1, 512), help="Tokens of a question.  [default: 14, for GQA 29]")
@json_option
def command(
    kind: str,
    file: Path,
    out: Path | None,
    vocabulary: Path | None,
    answers: Path | None,
    heads: int | None,
    regions: int,
    question_length: int | None,
    as_json: bool,
) -> None:
    """Turn a published checkpoint FILE into a checkpoint folder that every other command takes.

    KIND is mcan-bst (MILVLG/bst, VQA-v2 or GQA) or mcan (MILVLG/mcan-vqa and openvqa). Sizes are read from the
    weights. The file is read without running any code in it; one that holds more than weights is refused.
    """
    from edgevqa.checkpoints.importers.kinds import import_checkpoint
    from edgevqa.checkpoints.importers.layout import Settings
    from edgevqa.export.exporter import this_command
    from edgevqa.slimming.counting import count
    from edgevqa.slimming.grid import grid

    with show_progress() as progress:
        made = import_checkpoint(
            kind,
            file,
            out or Path(kind),
            settings=Settings(heads, regions, question_length),
            vocabulary=vocabulary,
            answers=answers,
            command=this_command(),
            progress=progress,
        )
    missing = made.missing
    parameters, submodels = count(made.config).parameters, [plan.name for plan in grid(made.config, made.slimming)]
    if as_json:
        print_json(
            {"folder": made.folder, "parameters": parameters, "submodels": submodels, "missing": missing,
             "model": made.config.to_dict()}
        )  # fmt: skip
        return
    click.echo(f"wrote {made.folder}: {parameters:,} parameters, {len(submodels)} submodels")
    if missing:
        note(f"without --{' and --'.join(missing)} it can be exported and measured, but not asked")
    click.echo(f"next: edgevqa export --model {made.folder} --grid")
