"""`edgevqa info`: every submodel of a model, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevqa.cli.console import Column, print_json, print_table
from edgevqa.cli.options import examples, json_option

if TYPE_CHECKING:
    from edgevqa.checkpoints import Checkpoint
    from edgevqa.slimming.published import Published


@click.command(epilog=examples("edgevqa info", "edgevqa info uniter-bst", "edgevqa info scenes --any --json"))
@click.argument("model", default="scenes")
@click.option("--any", "any_pair", is_flag=True, help="Show the pairs that the triangle filter leaves out, too.")
@json_option
def command(model: str, any_pair: bool, as_json: bool) -> None:
    """Every submodel of MODEL: parameters, MACs, FLOPs, size and score.

    MODEL is a bundled model, a checkpoint folder, or a published model known by its sizes: mcan-bst, mcan-bst-gqa,
    mcan-small, mcan-large, uniter-bst, clip-vil-bst (with CLIP's trunk) or clip-vil-bst-features (without). FLOPs are
    twice the MACs, at batch 1 with all positions, LSTM and attention products included. "words %" is the share of the
    word embedding in the parameters, and so in the megabytes.
    """
    from edgevqa.slimming.counting import count
    from edgevqa.slimming.grid import grid
    from edgevqa.slimming.rules import layer_lists, slice_config

    name, described, scores, more = _describe(model)
    rows: list[dict[str, Any]] = []
    for plan in grid(described.config, described.slimming, filtered=not any_pair):
        sizes = slice_config(described.config, plan)
        counts = count(sizes)
        rows.append(
            {
                "submodel": plan.name,
                "hidden": sizes.hidden,
                "heads": sizes.encoder[0].heads,
                "layers": len(sizes.encoder),
                "layers_by_list": layer_lists(sizes),
                "parameters": counts.parameters,
                "macs": counts.macs,
                "flops": counts.flops,
                "fp32_mb": 4 * counts.parameters / 1e6,
                "int8_mb": counts.parameters / 1e6,
                "embedding_share": counts.embedding_share,
                "score": scores.get(plan.name),
                "parameters_by_part": dict(counts.parameters_by_part),
                "macs_by_part": dict(counts.macs_by_part),
            }
        )
    if as_json:
        print_json({"model": name, **more, "submodels": rows})
        return
    columns = [Column("submodel")] + [
        Column(heading, number=True)
        for heading in (
            "hidden", "heads", "layers", "parameters", "MMACs", "MFLOPs", "fp32 MB", "int8 MB", "words %",
            f"{more['score_kind'] or 'score'} %",
        )
    ]  # fmt: skip
    shown = [
        [
            row["submodel"], str(row["hidden"]), str(row["heads"]),
            " + ".join(map(str, row["layers_by_list"].values())),
            f"{row['parameters']:,}", f"{row['macs'] / 1e6:.2f}", f"{row['flops'] / 1e6:.2f}",
            f"{row['fp32_mb']:.2f}", f"{row['int8_mb']:.2f}",
            f"{100 * row['embedding_share']:.1f}",
            "-" if row["score"] is None else f"{row['score']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    print_table(columns, shown, title=name)
    for floor_name, floor in more["floors"].items():
        click.echo(f"{floor_name.replace('_', '-')} floor: {floor:.1f} %")
    click.echo("Megabytes are of the weights alone; a file also holds its graph.")


def _describe(model: str) -> tuple[str, Checkpoint | Published, Mapping[str, float], dict[str, Any]]:
    """Name, sizes and grid, scores, and the dataset with its floors; a folder comes before a published name."""
    from edgevqa.slimming.published import PUBLISHED

    if model in PUBLISHED and not (Path(model) / "config.json").exists():
        return model, PUBLISHED[model], {}, {"dataset": None, "floors": {}, "score_kind": None}
    from edgevqa.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(model)
    more = {"dataset": checkpoint.dataset, "floors": checkpoint.floors, "score_kind": checkpoint.score_kind}
    return checkpoint.name, checkpoint, checkpoint.scores, more
