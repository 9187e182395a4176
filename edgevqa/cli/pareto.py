"""`edgevqa pareto`: table, CSV, plot and recommendation from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevqa.cli.console import Column, end, note, print_json, print_table
from edgevqa.cli.options import examples, json_option, results_option
from edgevqa.errors import Inconclusive

if TYPE_CHECKING:
    from edgevqa.results.pareto import Row
    from edgevqa.results.summary import Section, Summary

STAR = "*"
MOST_LEFT_OUT = 5
FILE = click.Path(dir_okay=False, path_type=Path)
COLUMNS = [
    Column("submodel"),
    Column("file"),
    Column("runtime"),
    Column("score %", number=True),
    Column("p90 ms ", number=True),
    Column("MB ", number=True),
    Column("RAM MB ", number=True),
]


@click.command(
    epilog=examples(
        "edgevqa pareto",
        "edgevqa pareto --target x86 --plot figure.pdf",
        "edgevqa pareto --json | jq '.rows[] | select(.fronts != \"\") | .artifact'",
    )
)
@results_option
@click.option("--csv", type=FILE, help="Where every row goes.  [default: RESULTS/pareto.csv]")
@click.option("--plot", type=FILE, help="A .png, .pdf or .svg file.  [default: RESULTS/pareto.png]")
@click.option("--target", help="Show only this target; the CSV holds all.")
@click.option("--include-emulated", is_flag=True, help="Let emulated rows form fronts, of their own.")
@json_option
def command(
    results: Path,
    csv: Path | None,
    plot: Path | None,
    target: str | None,
    include_emulated: bool,
    as_json: bool,
) -> None:
    """Pareto table, CSV and plot from what was measured.

    A row can lie on three fronts: score against p90 latency, file size and peak memory. Only rows that passed
    the gate and were measured without a fault take part; rows of one target, protocol and task are compared.
    """
    from edgevqa.results.summary import summarise

    summary = summarise(results, csv=csv, plot=plot, target=target, include_emulated=include_emulated)
    if as_json:
        print_json(to_json(summary))
    else:
        show(summary)
        if include_emulated:
            show_instructions(summary)
    require_front(summary, as_json)


def require_front(summary: Summary, as_json: bool) -> None:
    """End the command as inconclusive when no row can lie on a front."""
    if not any(section.recommendation for section in summary.sections):
        reason = next(row.why_not for section in summary.sections for row in section.rows)
        end(Inconclusive(f"no row can lie on a front; the first because: {reason}"), as_json)


def show(summary: Summary) -> None:
    """Print a summary for people: a table and a recommendation for each group, and where the files are."""
    from edgevqa.results.pareto import describe

    for problem in summary.problems:
        note(f"warning: {problem}")
    for section in summary.sections:
        counted = [row for row in section.rows if row.counts]
        if counted:
            print_table(COLUMNS, [_cells(row) for row in counted], title=str(section.group))
            click.echo(f"{STAR} nothing scores as high with less of it")
        else:
            click.echo(f"{section.group}: no row can lie on a front")
        left_out = [row for row in section.rows if not row.counts]
        for row in left_out[:MOST_LEFT_OUT]:
            click.echo(f"left out: {describe(row.record)}: {row.why_not}")
        if len(left_out) > MOST_LEFT_OUT:
            click.echo(f"left out: {len(left_out) - MOST_LEFT_OUT} more, each with its reason in the CSV")
        for name, score in section.floors.items():
            click.echo(f"{name} floor: {score:.1f} %")
        for text in section.notes:
            click.echo(f"note: {text}")
        if section.plot is not None:
            click.echo(f"plot: {section.plot}")
        if section.recommendation is not None:
            click.echo(f"\n{section.recommendation.sentence}\n")
    click.echo(f"table: {summary.csv}")


def show_instructions(summary: Summary) -> None:
    """Print what a query costs emulated processors, in tables of their own: nothing there is a latency."""
    from edgevqa.results.pareto import file_kind
    from edgevqa.results.recommend import score_text

    columns = [Column("submodel"), Column("file"), Column("runtime"), Column("score %", number=True)]
    columns += [Column("simulated instructions", number=True), Column("spread %", number=True)]
    for section in summary.sections:
        counted = [row.record for row in section.rows if row.record.simulated_instructions is not None]
        rows = []
        for record in sorted(counted, key=lambda record: record.simulated_instructions or 0):
            score = score_text(record).removesuffix(" %")
            spread = record.simulated_instructions_spread_percent or 0
            cells = [record.submodel, file_kind(record), record.runtime, score]
            rows.append([*cells, f"{record.simulated_instructions:,}", f"{spread:.2f}"])
        if rows:
            print_table(
                columns,
                rows,
                title=f"simulated instructions of a query, {section.group.task} on {section.group.target}",
            )


def to_json(summary: Summary) -> dict[str, Any]:
    """A summary as JSON: every row of the CSV, and for each group what to ship."""
    from edgevqa.results.tables import in_order, to_dict

    return {
        "csv": summary.csv,
        "groups": [_section(section) for section in summary.sections],
        "rows": [to_dict(row) for row in in_order(summary.rows)],
        "problems": summary.problems,
    }


def _section(section: Section) -> dict[str, Any]:
    chosen = section.recommendation
    return {
        **vars(section.group),
        "floors": section.floors,
        "notes": section.notes,
        "plot": section.plot,
        "ship": None if chosen is None else chosen.record.to_dict(),
        "why": None if chosen is None else chosen.sentence,
    }


def _cells(row: Row) -> list[str]:
    from rich.markup import escape

    from edgevqa.results.pareto import COSTS, accelerator, file_kind
    from edgevqa.results.recommend import score_text

    record = row.record
    threads = f" x{record.threads}" if record.threads > 1 else ""
    cells = [
        record.submodel,
        file_kind(record),
        record.runtime + accelerator(record) + threads,
        score_text(record).removesuffix(" %"),
    ]
    for front, field in COSTS.items():
        value = getattr(record, field)
        cells.append(("-" if value is None else f"{value:.3g}") + (STAR if front in row.fronts else " "))
    return [f"[bold]{escape(cell)}[/]" if row.fronts else escape(cell) for cell in cells]
