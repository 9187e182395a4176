"""`edgevqa select`: the best file within limits, from what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from edgevqa.cli.console import note, print_json
from edgevqa.cli.options import examples, json_option, results_option
from edgevqa.errors import UsageError

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command(
    epilog=examples(
        "edgevqa select --target x86 --max-p90-ms 60",
        "edgevqa select --target x86 --max-p90-ms 5 --max-mb 4 --json",
    )
)
@results_option
@click.option("--target", help="A measured target's name, or its profile's file.  [default: the one that was measured]")
@click.option("--max-p90-ms", type=POSITIVE, help="Most p90 latency in ms.")
@click.option("--max-mb", type=POSITIVE, help="Largest file in MB.")
@click.option("--max-memory-mb", type=POSITIVE, help="Most peak memory of the process in MB.")
@click.option("--max-j", type=POSITIVE, help="Most energy of one inference in J.")
@click.option("--protocol", help="Rows of this protocol.  [default: of the one that measured most files]")
@click.option("--model", help="Files of this model, where several were measured.")
@json_option
def command(
    results: Path,
    target: str | None,
    max_p90_ms: float | None,
    max_mb: float | None,
    max_memory_mb: float | None,
    max_j: float | None,
    protocol: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """The best file within limits, from what was measured.

    Limits that are not given are those of the target's profile, if it has any. Exit code 1: no measured file
    holds the limits, and the nearest is named. Exit code 4: not enough was measured to say.
    """
    from edgevqa.devices.targets import Limits
    from edgevqa.measure.profiles import find_profile
    from edgevqa.results.pareto import describe
    from edgevqa.results.recommend import score_text
    from edgevqa.results.records import read
    from edgevqa.results.select import given, limits_text, select

    reading = read(results)
    targets = sorted({record.target for record in reading.records})
    if target is None and len(targets) != 1:
        raise UsageError(f"name a target with --target; measured were: {', '.join(targets) or 'none'}")
    profile = find_profile(target or targets[0], results)
    # records can come from a machine whose profile is not here
    target, own = (target or targets[0], Limits()) if profile is None else (profile.name, profile.limits)
    limits = Limits(
        p90_ms=max_p90_ms or own.p90_ms,
        energy_j=max_j or own.energy_j,
        memory_mb=max_memory_mb or own.memory_mb,
        file_mb=max_mb or own.file_mb,
    )
    chosen = select(reading.records, target, limits, protocol, model)
    record = chosen.record
    if as_json:
        print_json(
            {
                "limits": vars(limits),
                "profile": profile and profile.source,
                "record": record.to_dict(),
                "within": chosen.within,
                "considered": chosen.considered,
                "unknown": [other.artifact for other in chosen.unknown],
                "problems": reading.problems,
            }
        )
        return
    for problem in reading.problems:
        note(f"warning: {problem}")
    if profile is None:
        note(f"note: there is no profile of {target} here, so only the options limit; --target takes its file, too")
    click.echo(record.artifact)
    click.echo(
        f"{describe(record)}: {score_text(record)} right, p90 {record.p90_ms:.3g} ms, {record.file_mb or 0:.3g} MB"
    )
    measured = f"{chosen.considered} that were measured on {target} with the {record.protocol} protocol"
    if given(limits):
        click.echo(f"the best score of the {chosen.within} files within {limits_text(limits)}, out of {measured}")
    else:
        click.echo(f"the best score of the {measured}; no limits were given, see --help")
    if chosen.unknown:
        names = ", ".join(describe(other) for other in chosen.unknown)
        note(f"note: better, but with a limited figure missing: {names}")
