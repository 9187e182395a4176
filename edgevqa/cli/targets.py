"""`edgevqa targets`: the device profiles."""

from __future__ import annotations

import dataclasses

import click

from edgevqa.cli.console import Column, print_json, print_table
from edgevqa.cli.options import examples, json_option


@click.command(epilog=examples("edgevqa targets", "edgevqa targets x86"))
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the device profiles, or show the one called NAME.

    Your own profiles are TOML files, given by path or put into `targets/` in edgevqa's folder of settings.
    """
    from edgevqa.devices.targets import find_profiles, load_target

    if name is not None:
        target = load_target(name)
        if as_json:
            print_json(dataclasses.asdict(target))
            return
        for key, value in dataclasses.asdict(target).items():
            click.echo(f"{key:14} {_text(value)}")
        return
    targets = [load_target(path) for path in find_profiles().values()]
    if as_json:
        print_json([dataclasses.asdict(target) for target in targets])
        return
    columns = [Column("target"), Column("kind"), Column("runtimes"), Column("protocol"), Column("description")]
    rows = [
        [target.name, target.kind, ", ".join(target.runtimes), target.protocol, target.description]
        for target in targets
    ]
    print_table(columns, rows)


def _text(value: object) -> str:
    if isinstance(value, dict):
        given = [f"{key} {item}" for key, item in value.items() if item is not None]
        return ", ".join(given) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
