"""`edgevqa device`: bring to a device what it needs, and take it away again."""

from __future__ import annotations

import dataclasses

import click

from edgevqa.cli.console import print_json, show_progress
from edgevqa.cli.options import examples, json_option, names_option


@click.group(
    epilog=examples(
        "edgevqa device setup --target raspberry-pi-5",
        "edgevqa device clean --target raspberry-pi-5 --json",
    )
)
def command() -> None:
    """Bring runtimes to a device, or remove all that was brought.

    Each of the two takes --target and --json. On the device they need Python, but no pip, no network and no root.
    """


@command.command(epilog=examples("edgevqa device setup --target raspberry-pi-5 --runtime onnxruntime,litert"))
@click.option("--target", required=True, help="A profile's name or file.")
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime.  [default: the target's]")
@json_option
def setup(target: str, runtimes: tuple[str, ...] | None, as_json: bool) -> None:
    """Bring runtimes there: wheels for its architecture, Python and C library, unpacked into one folder.

    Each runtime is then imported there. What is there already is not sent again.
    """
    from edgevqa.devices.setup import set_up
    from edgevqa.devices.targets import load_target

    with show_progress() as progress:
        brought = set_up(load_target(target), runtimes, progress=progress)
    if as_json:
        print_json([dataclasses.asdict(one) for one in brought])
        return
    for one in brought:
        click.echo(f"{one.runtime} {one.version}: {'sent' if one.sent else 'was there'} ({', '.join(one.wheels)})")
    click.echo(f"go on with: edgevqa bench --target {target}")


@command.command(epilog=examples("edgevqa device clean --target raspberry-pi-5"))
@click.option("--target", required=True, help="A profile's name or file.")
@json_option
def clean(target: str, as_json: bool) -> None:
    """Remove from the device all that edgevqa brought: files, runtimes, what killed runs left."""
    from edgevqa.devices.setup import clean as remove
    from edgevqa.devices.targets import load_target

    remove(load_target(target))
    if as_json:
        print_json({"target": target, "cleaned": True})
    else:
        click.echo(f"{target}: nothing of edgevqa's is left there")
