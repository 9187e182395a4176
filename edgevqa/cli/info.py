"""`edgevqa info`: every submodel of a model, without running it."""

from __future__ import annotations

from typing import Any

import click

from edgevqa.cli.console import Column, print_json, print_table
from edgevqa.cli.options import examples, json_option


@click.command(epilog=examples("edgevqa info", "edgevqa info easy-vqa", "edgevqa info scenes --any --json"))
@click.argument("model", default="scenes")
@click.option("--any", "any_pair", is_flag=True, help="Show the pairs that the triangle filter leaves out, too.")
@json_option
def command(model: str, any_pair: bool, as_json: bool) -> None:
    """Every submodel of MODEL: parameters, MACs, FLOPs, size and score.

    MODEL is a bundled model or a checkpoint folder. FLOPs are twice the MACs, at batch 1 with all positions, LSTM
    and attention products included.
    """
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.slimming.counting import count
    from edgevqa.slimming.grid import grid
    from edgevqa.slimming.rules import slice_config

    checkpoint = load_checkpoint(model)
    rows: list[dict[str, Any]] = []
    for plan in grid(checkpoint.config, checkpoint.slimming, filtered=not any_pair):
        sizes = slice_config(checkpoint.config, plan)
        counts = count(sizes)
        rows.append(
            {
                "submodel": plan.name,
                "hidden": sizes.hidden,
                "heads": sizes.encoder[0].heads,
                "layers": len(sizes.encoder),
                "parameters": counts.parameters,
                "macs": counts.macs,
                "flops": counts.flops,
                "fp32_mb": 4 * counts.parameters / 1e6,
                "int8_mb": counts.parameters / 1e6,
                "score": checkpoint.scores.get(plan.name),
                "parameters_by_part": dict(counts.parameters_by_part),
                "macs_by_part": dict(counts.macs_by_part),
            }
        )
    if as_json:
        print_json(
            {"model": checkpoint.name, "dataset": checkpoint.dataset, "floors": checkpoint.floors, "submodels": rows}
        )
        return
    columns = [Column("submodel")] + [
        Column(heading, number=True)
        for heading in (
            "hidden", "heads", "layers", "parameters", "MMACs", "MFLOPs", "fp32 MB", "int8 MB", "score %",
        )
    ]  # fmt: skip
    shown = [
        [
            row["submodel"], str(row["hidden"]), str(row["heads"]), f"{row['layers']} + {row['layers']}",
            f"{row['parameters']:,}", f"{row['macs'] / 1e6:.2f}", f"{row['flops'] / 1e6:.2f}",
            f"{row['fp32_mb']:.2f}", f"{row['int8_mb']:.2f}",
            "-" if row["score"] is None else f"{row['score']:.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    print_table(columns, shown, title=checkpoint.name)
    for name, floor in checkpoint.floors.items():
        click.echo(f"{name.replace('_', '-')} floor: {floor:.1f} %")
    click.echo("Megabytes are of the weights alone; a file also holds its graph.")
