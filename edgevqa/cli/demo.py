"""`edgevqa demo`: the whole chain on the bundled model, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgevqa.cli.console import end, print_json, show_progress
from edgevqa.cli.options import examples, json_option, results_option
from edgevqa.errors import GateFailed

ARTIFACTS = click.Path(file_okay=False, path_type=Path)


@click.command(epilog=examples("edgevqa demo"))
@click.option("--artifacts", type=ARTIFACTS, default=Path("artifacts"), help="The folder that the files go to.")
@results_option
@json_option
def command(artifacts: Path, results: Path, as_json: bool) -> None:
    """Export, gate, score and measure all submodels of the bundled model on this machine.

    Ten submodels, ONNX and TFLite, fp32 and int8: 40 files, each scored on the same 1,000 test questions. It ends
    with a Pareto table, a CSV, a plot and the file to ship. It takes some minutes; stopped and started again it goes
    on where it was. Ends with exit code 1 when a file fails the gate.
    """
    from edgevqa.cli.pareto import require_front, show, to_json
    from edgevqa.pipeline import demo
    from edgevqa.results.pareto import describe

    with show_progress() as progress:
        summary = demo(artifacts=artifacts, results=results, progress=progress)
    if as_json:
        print_json(to_json(summary))
    else:
        show(summary)
    rows = [row for section in summary.sections for row in section.rows]
    failed = [row for row in rows if row.record.gate == "failed"]
    if failed:
        first = f"{describe(failed[0].record)}: {failed[0].why_not}"
        end(GateFailed(f"{len(failed)} of {len(rows)} failed the gate and were not timed; {first}"), as_json)
    require_front(summary, as_json)
