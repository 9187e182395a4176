"""`edgevqa import`: a published checkpoint to a checkpoint folder."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgevqa.cli.console import note, print_json, show_progress
from edgevqa.cli.options import examples, json_option, skip_bad_option

STRIDE = 32
"""Of pictures, see `edgevqa.models.config.STRIDE`."""
FILE = click.Path(dir_okay=False, path_type=Path)


def _size(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """Height and width in pixels."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", value)
    if not found or any(not side or side % STRIDE for side in map(int, found.groups())):
        raise click.BadParameter(f"{value!r} should be height and width in multiples of {STRIDE}, such as 384x640")
    return int(found[1]), int(found[2])


@click.command(
    epilog=examples(
        "edgevqa import mcan-bst epoch15.pkl --out mcan-bst",
        "edgevqa import mcan-bst epoch15.pkl --vocabulary token_to_ix.json --answers answer_dict.json --data vqa-v2",
        "edgevqa import mcan-bst gqa.pkl --vocabulary dicts.json --answers dicts.json --out mcan-bst-gqa",
        "edgevqa import mcan best_model.pkl --vocabulary token_to_ix.json --answers answer_dict.json",
        "edgevqa import uniter uniter-vqa.pt --vocabulary vocab.txt --answers ans2label.json --out uniter",
        "edgevqa import clip-vil BEST.pth --image-size 384x640 --out clip-vil",
    )
)
@click.argument("kind")
@click.argument("file", type=FILE)
@click.option("--out", type=click.Path(path_type=Path), help="Checkpoint folder.  [default: ./KIND]")
@click.option("--vocabulary", type=FILE, help="The project's word list, or BERT's vocab.txt; needed for `ask`.")
@click.option("--answers", type=FILE, help="The project's answer list; needed for `ask`.")
@click.option("--data", type=click.Path(path_type=Path), help="A folder of questions and pictures to be scored on.")
@skip_bad_option
@click.option("--heads", type=click.IntRange(1), help="Attention heads.  [default: the authors' 8, for BERT 12]")
@click.option("--regions", type=click.IntRange(1, 1000), default=100, help="Regions of a picture.")
@click.option(
    "--question-length",
    type=click.IntRange(1, 512),
    help="Tokens of a question.  [default: 14, for GQA 29, for BERT 20]",
)
@click.option("--image-size", metavar="HxW", default="384x640", callback=_size, help="Pixels, for clip-vil.")
@click.option("--without-trunk", is_flag=True, help="Leave out clip-vil's trunk: its features are given.")
@json_option
def command(
    kind: str,
    file: Path,
    out: Path | None,
    vocabulary: Path | None,
    answers: Path | None,
    data: Path | None,
    skip_bad: bool,
    heads: int | None,
    regions: int,
    question_length: int | None,
    image_size: tuple[int, int],
    without_trunk: bool,
    as_json: bool,
) -> None:
    """Turn a published checkpoint FILE into a checkpoint folder that every other command takes.

    KIND is mcan-bst (MILVLG/bst, VQA-v2 or GQA), mcan (MILVLG/mcan-vqa and openvqa), uniter (ChenRocks/UNITER for
    VQA) or clip-vil (CLIP-ViL-Pretrain for VQA). Sizes are read from the weights. The file is read without running
    any code in it; one that holds more than weights is refused.
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
            settings=Settings(heads, regions, question_length, image_size, without_trunk),
            vocabulary=vocabulary,
            answers=answers,
            data=data,
            skip_bad=skip_bad,
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
