"""`edgevqa bench`: gate and measure exported files on a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevqa.cli.console import Column, end, note, print_json, print_table, show_progress, show_progresses
from edgevqa.cli.options import examples, json_option, names_option, results_option
from edgevqa.errors import DeviceError, GateFailed, UsageError

if TYPE_CHECKING:
    from edgevqa.export.manifest import Artifact
    from edgevqa.measure.bench import Threads
    from edgevqa.measure.fleet import Outcome
    from edgevqa.measure.record import Record


@click.command(
    epilog=examples(
        "edgevqa bench",
        "edgevqa bench --target x86 --protocol standard",
        "edgevqa bench --target kitchen --target phone --target x86",
        "edgevqa bench artifacts/scenes/w0.25-d2 --runtime litert --threads 1,2",
    )
)
@click.argument("artifacts", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"))
@click.option(
    "--target",
    "names",
    multiple=True,
    help="A profile's name or file; given several times, devices are measured in parallel.  [default: this machine]",
)
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime.  [default: the target's]")
@click.option("--protocol", help="smoke, quick, standard or sustained.  [default: the target's]")
@names_option("--threads", "threads", None, "Numbers of threads; sweep tries 1, 2, 4, ...  [default: the target's]")
@click.option("--cores", metavar="CORES", help="big, little, or a mask such as 0xf0.  [default: the target's]")
@click.option("--delegate", help="What to compute with: cpu, gpu, xnnpack, webgpu, ...  [default: the target's]")
@click.option(
    "--allow-fallback", is_flag=True, help="Measure what runs instead when the delegate does not take a model."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for a device that does not answer (any more).  [default: 60 with several targets, else 0]",
)
@results_option
@json_option
def command(
    artifacts: Path,
    names: tuple[str, ...],
    runtimes: tuple[str, ...] | None,
    protocol: str | None,
    threads: tuple[str, ...] | None,
    cores: str | None,
    delegate: str | None,
    allow_fallback: bool,
    wait: float | None,
    results: Path,
    as_json: bool,
) -> None:
    """Gate and measure the files in the folder ARTIFACTS on a target, or on several at once.

    What was measured already is not measured again. A file that fails the gate is never timed; then the exit code is
    1. A cell that could not be measured makes it 3, and so does one of several targets that could not be reached.
    """
    from edgevqa.devices.targets import check_core_mask, load_target
    from edgevqa.measure.fleet import WAIT_S, Outcome
    from edgevqa.pipeline import artifacts_in, bench, bench_fleet, left_out, not_for_delegate, this_machine

    counts = None if threads is None else _counts(threads)
    targets = [load_target(name).on(delegate, allow_fallback) for name in names]
    targets = targets or [this_machine().on(delegate, allow_fallback)]
    if cores is not None:
        check_core_mask(cores, "--cores")
        targets = [dataclasses.replace(target, core_mask=cores) for target in targets]
    for target in targets:
        target.check_this_machine()
    found = artifacts_in(artifacts)
    if len(targets) == 1:
        with show_progress() as bar:
            records = bench(
                found,
                target=targets[0],
                runtimes=runtimes,
                protocol=protocol,
                threads=counts,
                results=results,
                wait_s=wait or 0,
                progress=bar,
            )
        outcomes = [Outcome(targets[0], tuple(records))]
    else:
        with show_progresses([target.name for target in targets]) as bars:
            outcomes = bench_fleet(
                found,
                targets,
                runtimes=runtimes,
                protocol=protocol,
                threads=counts,
                results=results,
                wait_s=WAIT_S if wait is None else wait,
                progress=bars,
            )
    records = [record for outcome in outcomes for record in outcome.records]
    failures = {outcome.target.name: outcome.failure for outcome in outcomes if outcome.failure}
    left: list[dict[str, object]] = []
    unsuited: dict[str, list[Artifact]] = {}
    for target in targets:
        passed_over = left_out(found, runtimes or target.runtimes)
        refused = not_for_delegate([one for one in found if one not in passed_over], target)
        left += folders(passed_over, target.name) + unsuited_folders(refused, target.name)
        unsuited |= refused
    if as_json:
        print_json({"records": [record.to_dict() for record in records], "left_out": left, "failed": failures})
    else:
        show(records, several=len(targets) > 1)
        for asked in dict.fromkeys(runtimes or target.runtimes for target in targets):
            note_left_out(left_out(found, asked), len(found), asked)
        note_unsuited(unsuited, len(found))
        click.echo(f"records: {results / 'records.jsonl'}; go on with: edgevqa pareto --results {results}")
    _end(outcomes, failures, as_json)


def _end(outcomes: Sequence[Outcome], failures: Mapping[str, str], as_json: bool) -> None:
    """End with the exit code of what went wrong."""
    records = [record for outcome in outcomes for record in outcome.records]
    failed = [record for record in records if record.gate == "failed"]
    unmeasured = [record for record in records if record.n == 0 and record.gate != "failed"]
    if failures and len(outcomes) > 1:
        for failure in failures.values():
            note(failure)
        text = f"{len(failures)} of {len(outcomes)} targets failed; the same command measures what is missing"
        end(DeviceError(text), as_json)
    if failed:
        end(GateFailed(f"{len(failed)} of {len(records)} failed the gate and were not timed; see above"), as_json)
    if unmeasured:
        end(DeviceError(f"{len(unmeasured)} of {len(records)} could not be measured; see above"), as_json)


def _counts(threads: tuple[str, ...]) -> Threads:
    if threads == ("sweep",):
        return "sweep"
    for count in threads:
        if not count.isdecimal():
            raise UsageError(f"--threads takes whole numbers such as 1 or 1,2, or sweep, not {count!r}")
    return tuple(int(count) for count in threads)


def show(records: Sequence[Record], several: bool = False) -> None:
    """Print records for people, with their targets if they are of several."""
    from edgevqa.results.pareto import accelerator, file_kind

    masked = any(record.core_mask for record in records)
    columns = [
        *([Column("target")] if several else []),
        Column("model"), Column("submodel"), Column("file"), Column("runtime"), Column("threads", number=True),
        *([Column("cores")] if masked else []),
        Column("n", number=True), Column("p50 ms", number=True), Column("p90 ms", number=True),
        Column("load ms", number=True), Column("RAM MB", number=True), Column("gate"), Column("validity"),
    ]  # fmt: skip
    rows = [
        [
            *([record.target] if several else []),
            record.model, record.submodel, file_kind(record), record.runtime + accelerator(record), str(record.threads),
            *([record.core_mask or "all"] if masked else []),
            str(record.n), *_costs(record),
            record.gate, record.validity.partition(":")[0],
        ]
        for record in records
    ]  # fmt: skip
    if any(record.simulated_instructions is not None for record in records):
        columns.insert(-2, Column("simulated instructions", number=True))
        for cells, record in zip(rows, records, strict=True):
            count = record.simulated_instructions
            cells.insert(-2, "-" if count is None else f"{count:,}")
    print_table(columns, rows)
    texts = [record.validity for record in records if record.validity != "valid"]
    emulated = [record for record in records if record.basis == "emulated" and record.n > 0]
    if emulated:
        texts.append("emulated: times and memory say nothing and are not shown")
    reasons = [record.simulated_instructions_reason for record in emulated]
    texts += [f"no simulated instructions: {reason}" for reason in reasons if reason]
    for text in dict.fromkeys(texts):
        note(text)


def _costs(record: Record) -> list[str]:
    """Median, p90, loading and memory; under emulation none of them is the device's."""
    values = (record.p50_ms, record.p90_ms, record.load_ms, record.peak_rss_mb)
    return [_number(value) if record.basis == "measured" else "-" for value in values]


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


def unsuited_folders(unsuited: Mapping[str, Sequence[Artifact]], target: str | None = None) -> list[dict[str, object]]:
    """The same for JSON."""
    return [{**entry, "reason": reason} for reason, those in unsuited.items() for entry in folders(those, target)]


def folders(artifacts: Sequence[Artifact], target: str | None = None) -> list[dict[str, object]]:
    """The artifacts that were left out, for JSON: each with the runtimes that it is for, and for which target."""
    more = {} if target is None else {"target": target}
    return [{"folder": one.folder, "runtimes": one.manifest["runtimes"], **more} for one in artifacts]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
