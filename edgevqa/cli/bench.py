"""`edgevqa bench`: gate and measure exported files on a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.console import Column, end, note, print_json, print_table, show_progress
from edgevqa.cli.options import examples, json_option, names_option, results_option
from edgevqa.errors import DeviceError, GateFailed, UsageError

if TYPE_CHECKING:
    from edgevqa.export.manifest import Artifact
    from edgevqa.measure.record import Record


@click.command(
    epilog=examples(
        "edgevqa bench",
        "edgevqa bench --target x86 --protocol standard",
        "edgevqa bench artifacts/scenes/w0.25-d2 --runtime litert --threads 1,2",
    )
)
@click.argument("artifacts", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"))
@click.option("--target", help="A profile's name or file.  [default: this machine]")
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime.  [default: the target's]")
@click.option("--protocol", help="smoke, quick, standard or sustained.  [default: the target's]")
@names_option("--threads", "threads", None, "Numbers of threads.  [default: the target's]")
@click.option("--delegate", help="What to compute with: cpu, gpu, xnnpack, webgpu, ...  [default: the target's]")
@click.option(
    "--allow-fallback", is_flag=True, help="Measure what runs instead when the delegate does not take a model."
)
@results_option
@json_option
def command(
    artifacts: Path,
    target: str | None,
    runtimes: tuple[str, ...] | None,
    protocol: str | None,
    threads: tuple[str, ...] | None,
    delegate: str | None,
    allow_fallback: bool,
    results: Path,
    as_json: bool,
) -> None:
    """Gate and measure the files in the folder ARTIFACTS on a target.

    What was measured already is not measured again. A file that fails the gate is never timed; then the exit code is
    1. A cell that could not be measured makes it 3.
    """
    from edgevqa.devices.targets import load_target
    from edgevqa.pipeline import artifacts_in, bench, left_out, not_for_delegate, this_machine

    counts = None if threads is None else _counts(threads)
    chosen = this_machine() if target is None else load_target(target)
    chosen = chosen.on(delegate, allow_fallback)
    chosen.check_this_machine()
    found = artifacts_in(artifacts)
    with show_progress() as progress:
        records = bench(
            found,
            target=chosen,
            runtimes=runtimes,
            protocol=protocol,
            threads=counts,
            results=results,
            progress=progress,
        )
    passed_over = left_out(found, runtimes or chosen.runtimes)
    unsuited = not_for_delegate([one for one in found if one not in passed_over], chosen)
    if as_json:
        everything = folders(passed_over) + unsuited_folders(unsuited)
        print_json({"records": [record.to_dict() for record in records], "left_out": everything})
    else:
        show(records)
        note_left_out(passed_over, len(found), runtimes or chosen.runtimes)
        note_unsuited(unsuited, len(found))
        click.echo(f"records: {results / 'records.jsonl'}; go on with: edgevqa pareto --results {results}")
    failed = [record for record in records if record.gate == "failed"]
    unmeasured = [record for record in records if record.n == 0 and record.gate != "failed"]
    if failed:
        end(GateFailed(f"{len(failed)} of {len(records)} failed the gate and were not timed; see above"), as_json)
    if unmeasured:
        end(DeviceError(f"{len(unmeasured)} of {len(records)} could not be measured; see above"), as_json)


def _counts(threads: tuple[str, ...]) -> tuple[int, ...]:
    for count in threads:
        if not count.isdecimal():
            raise UsageError(f"--threads takes whole numbers such as 1 or 1,2, not {count!r}")
    return tuple(int(count) for count in threads)


def show(records: list[Record]) -> None:
    """Print records for people."""
    from edgevqa.results.pareto import accelerator, file_kind

    columns = [
        Column("model"), Column("submodel"), Column("file"), Column("runtime"), Column("threads", number=True),
        Column("n", number=True), Column("p50 ms", number=True), Column("p90 ms", number=True),
        Column("load ms", number=True), Column("RAM MB", number=True), Column("gate"), Column("validity"),
    ]  # fmt: skip
    rows = [
        [
            record.model, record.submodel, file_kind(record), record.runtime + accelerator(record), str(record.threads),
            str(record.n), _number(record.p50_ms), _number(record.p90_ms), _number(record.load_ms),
            _number(record.peak_rss_mb), record.gate, record.validity.partition(":")[0],
        ]
        for record in records
    ]  # fmt: skip
    print_table(columns, rows)
    for text in dict.fromkeys(record.validity for record in records if record.validity != "valid"):
        note(text)


def note_left_out(artifacts: Sequence[Artifact], total: int, runtimes: Sequence[str]) -> None:
    """Say how many files are for none of the runtimes, and for which they are."""
    if not artifacts:
        return
    others = sorted({name for artifact in artifacts for name in artifact.manifest["runtimes"]})
    note(
        f"left out: {len(artifacts)} of {total} files, which are not for {' or '.join(runtimes)}; "
        f"--runtime {','.join(others)} takes them"
    )


def note_unsuited(unsuited: Mapping[str, Sequence[Artifact]], total: int) -> None:
    """Say how many files the target's delegate does not take, and why."""
    for reason, artifacts in unsuited.items():
        note(f"left out: {len(artifacts)} of {total} files, which are for CPUs: {reason}")


def unsuited_folders(unsuited: Mapping[str, Sequence[Artifact]]) -> list[dict[str, object]]:
    """The same for JSON."""
    return [{**entry, "reason": reason} for reason, those in unsuited.items() for entry in folders(those)]


def folders(artifacts: Sequence[Artifact]) -> list[dict[str, object]]:
    """The artifacts that were left out, for JSON: each with the runtimes that it is for."""
    return [{"folder": artifact.folder, "runtimes": artifact.manifest["runtimes"]} for artifact in artifacts]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
