"""`edgevqa device`: bring to a device what it needs, and take it away again."""

from __future__ import annotations

import dataclasses

import click

from edgevqa.cli.console import print_json, show_progress
from edgevqa.cli.options import examples, json_option, names_option


@click.group(
    epilog=examples(
        "edgevqa device setup --target raspberry-pi-5",
        "edgevqa device bundle --machine aarch64",
        "edgevqa device clean --target raspberry-pi-5 --json",
    )
)
def command() -> None:
    """Bring runtimes to a device, or remove all that was brought.

    On the device, setup and clean need no pip, no network and no root; a board needs Python, a phone does not.
    """


@command.command(epilog=examples("edgevqa device setup --target raspberry-pi-5 --runtime onnxruntime,litert"))
@click.option("--target", required=True, help="A profile's name or file.")
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime.  [default: the target's]")
@json_option
def setup(target: str, runtimes: tuple[str, ...] | None, as_json: bool) -> None:
    """Bring runtimes there: wheels for its architecture, Python and C library, unpacked into one folder.

    A phone without Python gets the bundle instead, see `edgevqa device bundle`. Each runtime is then opened there. What
    is there already is not sent again.
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


@command.command(epilog=examples("edgevqa device bundle --machine aarch64 --runtime onnxruntime"))
@click.option(
    "--machine",
    type=click.Choice(["aarch64", "x86_64"]),
    default="aarch64",
    show_default=True,
    help="The architecture of the device.",
)
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert.  [default: both]")
@json_option
def bundle(machine: str, runtimes: tuple[str, ...] | None, as_json: bool) -> None:
    """Build what a phone without Python needs: the runner in C, runtimes, and a C library, in one folder.

    Setup and bench build it themselves when they need it. It is kept in the cache by the hash of its parts, and it is
    for the CPU only. It needs a C compiler for the device's architecture here.
    """
    from edgevqa.devices.bundle import build_bundle

    built = build_bundle(machine, runtimes)
    if as_json:
        print_json(built.to_dict())
        return
    for name, version in built.manifest["versions"].items():
        click.echo(f"{name} {version} ({built.manifest['wheels'][name]})")
    click.echo(f"{len(built.manifest['files'])} files, {built.manifest['bytes'] / 1e6:.1f} MB: {built.folder}")


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
