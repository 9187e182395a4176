"""Measure artifacts on a target: gate first, then fresh processes in turn, and never the same cell twice.

A round runs each unfinished cell once, in a process of its own; the next round starts one cell later. Every
finished process is on disk before the next one starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgevqa.devices import Target, Transport, open_transport, quiet
from edgevqa.devices.answers import TIMING, check_answer
from edgevqa.devices.cores import resolve_mask
from edgevqa.devices.instructions import COUNTS_NAME
from edgevqa.devices.jobs import JobResult, probe, run_job
from edgevqa.errors import DeviceError, InputError, IntegrityError, UsageError
from edgevqa.measure.cells import ArtifactLike, Cell, Gate, experiment_id, fitting_runtimes, why_not_on
from edgevqa.measure.cooling import Cooling
from edgevqa.measure.environment import ENVIRONMENTS_NAME, find_environment
from edgevqa.measure.instructions import counted, why_not_counted
from edgevqa.measure.parts import SAMPLES_NAME, Part, Parts, write_samples
from edgevqa.measure.profiles import PROFILES_NAME, keep_profile
from edgevqa.measure.protocols import Protocol, get_protocol
from edgevqa.measure.questions import TimedQuestions
from edgevqa.measure.record import RECORDS_NAME, Record, read_records
from edgevqa.measure.rows import NOT_RUN, base_record, findings_of, has_peak, measured_record, verdict_fields
from edgevqa.progress import Progress, Silent
from edgevqa.storage import append_line, folder_lock, remove_leftovers, sha256_file

PARTS_NAME = "parts"
LEFT_OVER_S = 3600.0  # no file takes that long to write


Threads = Sequence[int] | Literal["sweep"]
SWEEP: Literal["sweep"] = "sweep"


def sweep(cores: int) -> list[int]:
    """1, 2, 4 and so on threads, up to as many as there are cores."""
    doubled = [1 << power for power in range(cores.bit_length())]
    return sorted({count for count in doubled if count <= cores} | {cores})


def timed(result: JobResult, device: str, more: Mapping[str, Any]) -> Part:
    """What a runner says that it measured, with `more`; raises DeviceError when it is nonsense."""
    check_answer(result.values, TIMING, device)
    samples = result.array("samples.npy")
    if samples.dtype != np.int64 or samples.ndim != 1 or len(samples) == 0 or samples.min() < 0:
        raise DeviceError(f"{device} says nonsense: its samples are no nanoseconds; is what runs there broken?")
    return Part({**result.values, **more}, samples)


class Bench:
    """One call of `bench`."""

    def __init__(
        self, target: Target, protocol: Protocol, results: Path, transport: Transport, progress: Progress
    ) -> None:
        self.target, self.protocol, self.results = target, protocol, results
        self.transport, self.progress = transport, progress
        self.parts_folder = results / PARTS_NAME / target.name
        self.peaks: dict[tuple[str, int], float | None] = {}
        self.questions = TimedQuestions()
        self.cool_down = Cooling(protocol.cool_seconds, self.temperature_c, lambda text: progress.step(text, 0))

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        """Keep benches of other devices from disturbing this machine if it is the one that is timed."""
        return quiet.HERE.silence() if self.target.kind == "local" else contextlib.nullcontext()

    def temperature_c(self) -> float | None:
        """How warm the device is now, or None where it does not tell."""
        found: float | None = probe(self.target, None, self.transport)["host"].get("temperature_c")
        return found

    def write(self, cell: Cell, record: Record) -> None:
        """Add a row to the results."""
        append_line(self.results / RECORDS_NAME, record.to_line())
        cell.record = record

    def write_unmeasured(self, cell: Cell, reason: str) -> None:
        """Add a row that says why there are no figures, unless the last one says the same."""
        record = dataclasses.replace(base_record(cell, self.target, self.protocol), validity=f"invalid: {reason}")
        old = cell.record
        if old is None or (old.n, old.validity, old.artifact) != (0, record.validity, record.artifact):
            self.write(cell, record)

    def finished(self, cell: Cell, retry_invalid: bool) -> bool:
        """Whether a cell needs no measurement; a row whose verdict has changed since is written again."""
        if cell.verdict["gate"] == "failed":
            self.write_unmeasured(cell, f"gate failed: {cell.verdict['gate_reason']}")
            return True
        old = cell.record
        if cell.verdict["gate"] == NOT_RUN:
            if old is None or old.n == 0:  # what was measured before stays
                self.write_unmeasured(cell, f"not measured: {cell.verdict['gate_reason']}")
            return True
        if old is None or old.n == 0 or old.gate == "failed" or (retry_invalid and not old.is_valid):
            return False
        renewed = dataclasses.replace(old, artifact=str(cell.artifact.folder), **cell.verdict)
        if renewed != old:
            self.write(cell, renewed)
        return True

    def parts_of(self, cell: Cell) -> Parts:
        """What is already there of a cell."""
        return Parts(self.parts_folder, cell.experiment, self.protocol.processes)

    def run_process(self, cell: Cell) -> Part:
        """Time a cell in one fresh process; again if the machine was busy with something else.

        Raises:
            IntegrityError: the model file is not the one that the manifest describes.
            DeviceError, InputError: see `run_job`.
        """
        if sha256_file(cell.artifact.file) != cell.artifact.manifest["sha256"]:
            raise IntegrityError(f"{cell.artifact.file} has changed since its export; export it again")
        remote = "model" + cell.artifact.file.suffix
        job: dict[str, Any] = {"mode": "time", "runtime": cell.runtime, "model": remote}
        job |= {"inputs": "questions.npz", "threads": cell.threads, "samples": "samples.npy"}
        job |= self.protocol.job()
        files = {remote: cell.artifact.file, "questions.npz": self.questions.of(cell.artifact.reference_inputs)}
        fetch, reason = ["samples.npy"], why_not_counted(self.target, cell.threads)
        if reason is None:
            fetch.append(COUNTS_NAME)
            job["markers"] = True
        for attempt in range(1 + self.protocol.retries):
            self.cool_down()
            self.progress.step(f"{'again: ' if attempt else ''}{cell.name}", 0)
            with self.quiet():
                result = run_job(self.transport, self.target, job, files, fetch, self.protocol.timeout_s)
            part = timed(result, self.target.name, counted(result, reason))
            if not any(finding.level == "invalid" for finding in findings_of(cell, self.target, part)):
                break
        return part

    def advance(self, cell: Cell, number: int) -> None:
        """Run process `number` of a cell if it is not done, and write the record after the last one."""
        if cell.parts is None:
            return
        if number not in cell.parts.found:
            try:
                cell.parts.save(number, self.run_process(cell))
            except (DeviceError, InputError) as error:
                cell.parts = None
                self.write_unmeasured(cell, f"not measured: {error}")
                return
        if len(cell.parts.found) == self.protocol.processes:
            record = measured_record(cell, self.target, self.protocol, self.peak_of(cell))
            samples = np.concatenate([part.samples for part in cell.parts.in_order()])
            write_samples(self.results / str(record.samples), samples)
            self.write(cell, record)
            cell.parts.remove()
            cell.parts = None

    def peak_of(self, cell: Cell) -> float | None:
        """What percent of peak refers to, measured once in a call; None where there is no such thing."""
        if not has_peak(cell, self.target):
            return None
        key = (cell.environment.id, cell.threads)
        if key not in self.peaks:
            with self.quiet():
                found = cell.environment.peak_gflops(self.target, cell.runtime, cell.threads, self.transport)
            self.peaks[key] = found
        return self.peaks[key]

    def find_cells(
        self, artifacts: Sequence[ArtifactLike], runtimes: Sequence[str] | None, threads: Threads
    ) -> list[Cell]:
        """Every cell; nothing is written. The target's `big` and `little` cores become a mask.

        Raises:
            UsageError: no artifact fits, or there are more threads than cores.
            DeviceError: the target cannot be reached, lacks a runtime, or has no big and little cores.
        """
        fits = [(artifact, fitting_runtimes(artifact, self.target, runtimes)) for artifact in artifacts]
        names = list(dict.fromkeys(name for _artifact, fitting in fits for name in fitting))
        if not names:
            asked = ", ".join(runtimes or self.target.runtimes)
            why = next(filter(None, (why_not_on(artifact, self.target) for artifact in artifacts)), None)
            advice = why or "export one, or name another runtime"
            on = f" on {self.target.delegate}" if self.target.delegate != "cpu" else ""
            raise UsageError(f"no artifact for {asked}{on} among {len(fits)}; {advice}")
        places = {name: find_environment(self.target, name, self.transport, self.results) for name in names}
        self.target = resolve_mask(self.target, places[names[0]].facts)
        mask = self.target.core_mask
        cores = int(mask, 16).bit_count() if mask else places[names[0]].cores
        if threads == SWEEP:
            threads = sweep(cores)
        if min(threads) < 1 or max(threads) > cores:
            raise UsageError(f"threads {', '.join(map(str, threads))}: {self.target.name} offers 1 to {cores}")
        cells: dict[str, Cell] = {}
        for artifact, fitting in fits:
            for name, count in itertools.product(fitting, threads):
                experiment = experiment_id(artifact, self.target, places[name], count, self.protocol)
                cells.setdefault(experiment, Cell(artifact, name, count, places[name], experiment))
        return list(cells.values())

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Clear what killed runs left, write down where this is, and give each cell its last record if it has one."""
        remove_leftovers(self.parts_folder)
        for name in (SAMPLES_NAME, ENVIRONMENTS_NAME, PROFILES_NAME):  # benches of other targets write there, too
            remove_leftovers(self.results / name, older_than_s=LEFT_OVER_S)
        keep_profile(self.target, self.results)
        known = {record.experiment_id: record for record in read_records(self.results / RECORDS_NAME)}
        for cell in cells:
            cell.environment.save()
            cell.record = known.get(cell.experiment)


def bench(
    artifacts: Sequence[ArtifactLike],
    target: Target,
    *,
    gate: Gate,
    results: Path,
    runtimes: Sequence[str] | None = None,
    protocol: Protocol | str | None = None,
    threads: Threads | None = None,
    retry_invalid: bool = True,
    progress: Progress | None = None,
    transport: Transport | None = None,
) -> list[Record]:
    """Measure every artifact in every runtime of a target that it is intended for.

    Finished cells are not measured again, so that a second call goes on where a killed one stopped. A failed
    gate, and a cell that cannot be measured, become rows without figures that say why.

    Args:
        artifacts: see `edgevqa.export.manifest.Artifact`.
        target: where.
        gate: judges an artifact in a runtime on a target; it is asked for each before anything is timed, and
            should remember its verdicts.
        results: the folder of the results.
        runtimes: which of `edgevqa.runtimes.RUNTIMES`; the target's by default.
        protocol: how long and how often; the target's by default.
        threads: numbers of threads to measure with, or SWEEP, see `sweep`; the target's by default.
        retry_invalid: whether cells whose last row is invalid are measured again.
        progress: told about every gate and every process.
        transport: a way to the target that is open already.

    Returns:
        one record for each cell.

    Raises:
        UsageError: nothing fits, or a runtime, a protocol or the threads make no sense.
        DeviceError: the target cannot be reached or lacks a runtime.
        EnvironmentFailure: the results cannot be written, or another bench of this target writes them.
    """
    chosen = protocol if isinstance(protocol, Protocol) else get_protocol(protocol or target.protocol)
    progress = progress or Silent()
    work = Bench(target, chosen, results, transport or open_transport(target), progress)
    progress.start(f"looking at {target.name}", 1)
    try:
        cells = work.find_cells(artifacts, runtimes, threads or (target.threads,))
    finally:
        progress.finish()
    with folder_lock(work.parts_folder, "bench"), work.questions:
        work.prepare(cells)
        progress.start(f"measuring on {target.name}", len(cells) * (1 + chosen.processes))
        try:
            verdicts: dict[tuple[Path, str], dict[str, Any]] = {}
            for cell in cells:
                progress.step(f"gate: {cell.name}", 0)
                key = (cell.artifact.folder, cell.runtime)
                if key not in verdicts:
                    verdicts[key] = verdict_fields(gate, cell.artifact, cell.runtime, work.target)
                cell.verdict = verdicts[key]
                if work.finished(cell, retry_invalid):
                    work.parts_of(cell).remove()  # left over when a bench was killed right after its record
                else:
                    cell.parts = work.parts_of(cell)
                progress.step(cell.name)
            for number in range(chosen.processes):
                shift = number % max(len(cells), 1)
                for cell in cells[shift:] + cells[:shift]:
                    work.advance(cell, number)
                    progress.step(cell.name)
        finally:
            progress.finish()
    return [cell.record for cell in cells if cell.record is not None]
