"""`edgevqa doctor`: what a target is, has and lacks, and whether it can be measured well now."""

from __future__ import annotations

import click

from edgevqa.cli.console import print_json
from edgevqa.cli.options import examples, json_option


@click.command(epilog=examples("edgevqa doctor", "edgevqa doctor --target x86 --json"))
@click.option("--target", help="A profile's name or file.  [default: this machine]")
@json_option
def command(target: str | None, as_json: bool) -> None:
    """Look at a target: processor, memory, runtimes, and what would disturb a measurement now.

    Ends with exit code 3 when a runtime or a feature that the profile names is missing there.
    """
    from edgevqa.measure.checkup import check_up
    from edgevqa.pipeline import this_machine

    report = check_up(target or this_machine().name)
    if as_json:
        print_json(report.to_dict())
    else:
        for name, value in report.facts.items():
            click.echo(f"{name:14} {value}")
        for finding in report.findings:
            click.echo(f"{finding.level:14} {finding.text}" + (f"; {finding.fix}" if finding.fix else ""))
        for advice in report.missing:
            click.echo(f"missing        {advice}")
        click.echo("ready to measure" if report.ready else "not ready to measure")
    if report.missing:
        click.get_current_context().exit(3)
