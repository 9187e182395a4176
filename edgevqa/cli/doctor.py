"""`edgevqa doctor`: what a target is, has and lacks, and whether it can be measured well now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgevqa.cli.console import note, print_json
from edgevqa.cli.options import examples, json_option
from edgevqa.errors import EnvironmentFailure

if TYPE_CHECKING:
    from edgevqa.measure.checkup import CheckUp


@click.command(
    epilog=examples(
        "edgevqa doctor", "edgevqa doctor --target x86 --json", "edgevqa doctor --target kitchen --target phone"
    )
)
@click.option(
    "--target", "names", multiple=True, help="A profile's name or file; may be repeated.  [default: this machine]"
)
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Look at a target: processor, memory, runtimes, and what would disturb a measurement now.

    Ends with exit code 3 when a runtime or a feature that the profile names is missing there. Several
    targets make one report after another (with --json a list); one that cannot be reached is a line instead.
    """
    from edgevqa.measure.checkup import check_up
    from edgevqa.pipeline import this_machine

    described: list[dict[str, Any]] = []
    for name in names or (this_machine().name,):
        try:
            report = check_up(name)
        except EnvironmentFailure as error:
            if len(names) < 2:
                raise
            described.append({"target": name, "error": str(error)})
            note(f"{name}: {error}")
            continue
        described.append(report.to_dict())
        if not as_json:
            _show(report)
            if len(names) > 1:
                click.echo()
    if as_json:
        print_json(described if len(names) > 1 else described[0])
    if any("error" in one or one["missing"] for one in described):
        click.get_current_context().exit(3)


def _show(report: CheckUp) -> None:
    for name, value in report.facts.items():
        click.echo(f"{name:14} {value}")
    for finding in report.findings:
        click.echo(f"{finding.level:14} {finding.text}" + (f"; {finding.fix}" if finding.fix else ""))
    for advice in report.missing:
        click.echo(f"missing        {advice}")
    click.echo("ready to measure" if report.ready else "not ready to measure")
