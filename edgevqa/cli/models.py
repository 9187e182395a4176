"""`edgevqa models`: the checkpoints that come with edgevqa."""

from __future__ import annotations

import click

from edgevqa.cli.console import Column, print_json, print_table
from edgevqa.cli.options import examples, json_option


@click.command(epilog=examples("edgevqa models", "edgevqa models --json"))
@json_option
def command(as_json: bool) -> None:
    """List the models that come with edgevqa: what each answers about, its submodels and their scores."""
    from edgevqa.checkpoints import bundled_names, load_checkpoint
    from edgevqa.slimming.counting import count
    from edgevqa.slimming.grid import grid

    rows = []
    for name in bundled_names():
        checkpoint = load_checkpoint(name)
        plans = grid(checkpoint.config, checkpoint.slimming)
        rows.append(
            {
                "name": name,
                "folder": checkpoint.folder,
                "picture": type(checkpoint.config.image).__name__.removesuffix("Input").lower(),
                "submodels": len(plans),
                "parameters": count(checkpoint.config).parameters,
                "words": len(checkpoint.vocabulary.words),
                "answers": len(checkpoint.answers),
                "smallest": checkpoint.scores.get(plans[0].name),
                "full": checkpoint.scores.get(plans[-1].name),
                **{f"{floor}_floor": value for floor, value in checkpoint.floors.items()},
            }
        )
    if as_json:
        print_json(rows)
        return
    columns = [
        Column("model"), Column("picture as"), Column("submodels", number=True), Column("parameters", number=True),
        Column("words", number=True), Column("answers", number=True), Column("score % smallest", number=True),
        Column("full", number=True), Column("without the picture", number=True),
    ]  # fmt: skip
    shown = [
        [
            str(row["name"]), str(row["picture"]), str(row["submodels"]), f"{row['parameters']:,}",
            str(row["words"]), str(row["answers"]), _percent(row["smallest"]), _percent(row["full"]),
            _percent(row.get("question_only_floor")),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(columns, shown)


def _percent(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else "-"
