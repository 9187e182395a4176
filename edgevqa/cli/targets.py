"""`edgevqa targets`: the device profiles."""

from __future__ import annotations

import dataclasses

import click

from edgevqa.cli.console import Column, print_json, print_table
from edgevqa.cli.options import examples, json_option


class NamedProfiles(click.Group):
    """A group in which a word that is no command is the name of a profile to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Turn `targets NAME` into `targets show NAME`."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=NamedProfiles,
    invoke_without_command=True,
    epilog=examples(
        "edgevqa targets",
        "edgevqa targets x86",
        "edgevqa targets new kitchen --from raspberry-pi-5 --host pi@192.168.1.20",
    ),
)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the device profiles, show one by its name, or write one of your own.

    Your own profiles are TOML files, given by path or put into `targets/` in edgevqa's folder of settings.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@command.command("list", epilog=examples("edgevqa targets list --json"))
@json_option
def list_profiles(as_json: bool) -> None:
    """List the device profiles."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from edgevqa.devices.targets import find_profiles, load_target

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


@command.command(epilog=examples("edgevqa targets show x86"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show every key of the profile called NAME, or of a profile's file."""
    from edgevqa.devices.targets import load_target

    target = load_target(name)
    if as_json:
        print_json(dataclasses.asdict(target))
        return
    for key, value in dataclasses.asdict(target).items():
        click.echo(f"{key:16}{_text(value)}")


@command.command(
    epilog=examples(
        "edgevqa targets new kitchen --from raspberry-pi-5 --host pi@192.168.1.20",
        "edgevqa targets new pixel --from android-cpu --serial 8A1X0MQ3T",
    )
)
@click.argument("name")
@click.option("--from", "origin", required=True, metavar="PROFILE", help="The profile that it starts from.")
@click.option("--host", help="The address for ssh: user@address, ssh://user@address:port, or a name of ~/.ssh/config.")
@click.option("--serial", help="The serial number of a phone as adb lists it, or address:port over Wi-Fi.")
@click.option("--force", is_flag=True, help="Replace a profile of your own that is there already.")
@json_option
def new(name: str, origin: str, host: str | None, serial: str | None, force: bool, as_json: bool) -> None:
    """Write a profile of your own, called NAME, into edgevqa's folder of settings.

    It is a copy that you may edit. Under the name of a shipped profile it takes that one's place.
    """
    from edgevqa.devices.targets import write_profile

    path = write_profile(name, origin, host=host, serial=serial, replace=force)
    if as_json:
        print_json({"name": name, "path": path})
    else:
        click.echo(f"{path}\ngo on with: edgevqa doctor --target {name}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        given = [f"{key} {item}" for key, item in value.items() if item is not None]
        return ", ".join(given) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
