"""The bench with real artifacts in real runtimes, and what it does when it is disturbed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.devices import Completed, Target, Transport
from edgevqa.devices.cores import clusters
from edgevqa.devices.jobs import probe
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.targets import load_target
from edgevqa.errors import DeviceError, EnvironmentFailure, UsageError
from edgevqa.measure.bench import SWEEP, bench, sweep
from edgevqa.measure.profiles import find_profile
from edgevqa.measure.protocols import Protocol
from edgevqa.measure.record import Record, read_records
from edgevqa.storage import folder_lock, sha256_file
from tests.runtimes import tiny_models

HERE = Target("here", "this machine", "local", ("onnxruntime", "litert"), host_checks=())
UNCHECKED = "degraded: the profile asks for no host checks"
SHORT = Protocol("short", 70, 0.0, 60.0, warmup_queries=1, warmup_seconds=0.0)
THREE = Protocol("three", 90, 0.0, 60.0, processes=3, warmup_queries=1, warmup_seconds=0.0)


@dataclass(frozen=True)
class Artifact:
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def file(self) -> Path:
        return self.folder / str(self.manifest["file"])

    @property
    def reference_inputs(self) -> Path:
        return self.folder.parent / "questions.npz"


@dataclass(frozen=True)
class Verdict:
    status: str = "passed"
    reason: str = ""
    parity: float | None = 1e-6
    score: float | None = None


def make(root: Path, name: str, **more: Any) -> Artifact:
    """An artifact with an ONNX file of its own hash."""
    folder = root / name
    folder.mkdir(parents=True)
    tiny_models.write_questions(root / "questions.npz")
    tiny_models.write_onnx(folder / "model.onnx")
    import onnx

    model = onnx.load(folder / "model.onnx")
    model.doc_string = name
    onnx.save(model, folder / "model.onnx")
    manifest = {
        "model": "tiny",
        "model_sha256": "1" * 64,
        "submodel": name,
        "method": "bst",
        "format": "onnx",
        "precision": "int8",
        "file": "model.onnx",
        "file_bytes": (folder / "model.onnx").stat().st_size,
        "sha256": sha256_file(folder / "model.onnx"),
        "parameters": 10,
        "macs": 500,
        "tokens": 7,
        "regions": 3,
        "scope": "precomputed regions",
        "opset": 18,
        "reference": {"sha256": "2" * 64},
        "runtimes": ["onnxruntime"],
        "task": {"dataset": "scenes", "version": 1},
        **more,
    }
    return Artifact(folder, manifest)


class Counting:
    """The local transport; it notes the models that were timed, and may be disturbed."""

    def __init__(self, disturb: Callable[[int], None] = lambda number: None) -> None:
        self.local, self.disturb = LocalTransport(), disturb
        self.timed: list[str] = []

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        if "samples.npy" in fetch:
            self.disturb(len(self.timed))
            self.timed.append(next(path.parent.name for name, path in files.items() if name.startswith("model")))
        return self.local.run(argv, files, fetch, timeout_s)


def passed(artifact: Any, runtime: str, target: Target) -> Verdict:
    return Verdict()


def measure(
    artifacts: list[Artifact],
    results: Path,
    transport: Transport | None = None,
    *,
    target: Target = HERE,
    protocol: Protocol = SHORT,
    gate: Callable[[Any, str, Target], Verdict] = passed,
    **more: Any,
) -> list[Record]:
    return bench(
        artifacts,
        target,
        gate=gate,
        results=results,
        protocol=protocol,
        transport=transport or Counting(),
        **more,
    )


def lines(results: Path) -> list[Record]:
    return read_records(results / "records.jsonl")


def test_a_row_says_everything_that_was_measured(tmp_path: Path) -> None:
    artifact = make(tmp_path, "w0.25-d2", precision="fp32")
    (record,) = measure([artifact], tmp_path / "results")
    assert lines(tmp_path / "results") == [record]
    assert (record.n, record.processes, record.process_counts) == (70, 1, (70,))
    assert record.min_ms is not None
    assert record.p50_ms is not None
    assert record.p90_ms is not None
    assert 0 < record.min_ms <= record.p50_ms <= record.p90_ms
    assert record.p99_ms is None
    assert record.percentiles_reason == "p99: only 70 queries were timed"
    for value in (record.first_inference_ms, record.load_ms, record.peak_rss_mb, record.percent_of_peak):
        assert value is not None
        assert value > 0
    assert record.energy_gross_j is None
    assert record.energy_reason
    assert (record.gate, record.validity, record.is_valid) == ("passed", UNCHECKED, True)
    assert (record.task, record.format_version, record.delegate) == ("scenes v1", 18, "CPUExecutionProvider")
    assert record.samples is not None
    samples = np.load(tmp_path / "results" / record.samples)
    assert len(samples) == 70
    assert samples.min() / 1e6 == record.min_ms
    environment = json.loads((tmp_path / "results" / "environments" / f"{record.environment_id}.json").read_text())
    assert environment["environment"]["runtime_version"] == record.runtime_version
    assert environment["peak_gflops"]


def test_a_second_call_measures_nothing(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]
    first = measure(artifacts, tmp_path / "results")
    transport = Counting()
    assert measure(artifacts, tmp_path / "results", transport) == first
    assert transport.timed == []
    assert len(lines(tmp_path / "results")) == 2


def test_the_peak_is_the_best_that_was_ever_measured(tmp_path: Path) -> None:
    """A first measurement on a busy machine does not stay, and a worse one replaces nothing."""
    results = tmp_path / "results"
    (first,) = measure([make(tmp_path, "a", precision="fp32")], results)
    path = results / "environments" / f"{first.environment_id}.json"
    (key,) = json.loads(path.read_text())["peak_gflops"]

    def remember(gflops: float) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), "peak_gflops": {key: gflops}}))

    remember(1e-6)
    (second,) = measure([make(tmp_path, "b", precision="fp32")], results)
    assert json.loads(path.read_text())["peak_gflops"][key] > 1e-3
    assert second.percent_of_peak is not None and second.percent_of_peak < 100
    remember(1e12)
    (third,) = measure([make(tmp_path, "c", precision="fp32")], results)
    assert json.loads(path.read_text())["peak_gflops"][key] == 1e12
    assert third.percent_of_peak is not None and 0 < third.percent_of_peak < 1e-3


def test_a_call_that_makes_no_sense_writes_nothing(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    for wrong in ({"runtimes": ["litert"]}, {"threads": [0]}, {"threads": [10_000]}):
        with pytest.raises(UsageError):
            measure([artifact], tmp_path / "results", **wrong)
    assert not (tmp_path / "results").exists()


def test_what_killed_runs_left_is_cleared_and_what_is_being_written_stays(tmp_path: Path) -> None:
    results = tmp_path / "results"
    places = [results / "parts" / "here" / ".tmp-old"]
    for name in ("samples", "environments", "targets"):
        (results / name).mkdir(parents=True)
        places += [results / name / ".tmp-old", results / name / ".tmp-new"]
    places[0].parent.mkdir(parents=True)
    for path in places:
        path.write_bytes(b"half")
        if path.name == ".tmp-old":
            os.utime(path, (1e9, 1e9))
    measure([make(tmp_path, "a")], results)
    assert sorted(path.name for path in results.rglob(".tmp-*")) == [".tmp-new"] * 3


def test_a_profile_that_was_given_by_path_is_kept_for_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVQA_CONFIG", str(tmp_path / "settings"))
    results, path, artifact = tmp_path / "results", tmp_path / "mine.toml", make(tmp_path, "a")
    text = 'name = "kiosk"\ndescription = ""\nkind = "local"\nruntimes = ["onnxruntime"]\n[limits]\np90_ms = {}\n'
    path.write_text(text.format(60))
    assert find_profile("kiosk", results) is None
    measure([artifact], results, target=load_target(path))
    kept = find_profile("kiosk", results)
    assert kept is not None and kept.limits.p90_ms == 60
    path.write_text(text.format(50))
    given = find_profile(str(path), results)
    assert given is not None and given.limits.p90_ms == 50
    known = tmp_path / "settings" / "targets" / "kiosk.toml"
    known.parent.mkdir(parents=True)
    known.write_text(text.format(40))
    measure([artifact], results, target=load_target("kiosk"))
    found = find_profile("kiosk", results)
    assert found is not None and found.source == known, "the copy is not needed any more"


def test_another_protocol_target_or_file_is_another_experiment(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    results = tmp_path / "results"
    (first,) = measure([artifact], results)
    (longer,) = measure([artifact], results, protocol=dataclasses.replace(SHORT, minimum_queries=80))
    (named,) = measure([artifact], results, target=dataclasses.replace(HERE, name="there"))
    other = make(tmp_path / "again", "another")
    (changed,) = measure([other], results)
    assert len({row.experiment_id for row in (first, longer, named, changed)}) == 4
    assert len(lines(results)) == 4


def test_processes_are_interleaved_with_a_rotating_order(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, name) for name in "abc"]
    transport = Counting()
    records = measure(artifacts, tmp_path / "results", transport, protocol=THREE)
    assert transport.timed == list("abc" + "bca" + "cab")
    for record in records:
        assert (record.n, record.process_counts) == (90, (30, 30, 30))
        assert record.process_spread_ms is not None
    assert not list((tmp_path / "results" / "parts").rglob("*.npy"))


def test_ctrl_c_loses_no_finished_process(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, name) for name in "abc"]

    def interrupt(number: int) -> None:
        if number == 7:
            raise KeyboardInterrupt

    first = Counting(interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(artifacts, tmp_path / "results", first, protocol=THREE)
    assert [row.submodel for row in lines(tmp_path / "results")] == ["c"]
    second = Counting()
    records = measure(artifacts, tmp_path / "results", second, protocol=THREE)
    assert second.timed == list("ab")
    assert [row.n for row in records] == [90, 90, 90]
    assert len(lines(tmp_path / "results")) == 3


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.measure import test_bench as bench_tests
root = Path(sys.argv[2])
artifacts = [bench_tests.make(root, name) for name in "abcd"]
bench_tests.measure(artifacts, root / "results", protocol=bench_tests.SLOW)
"""
SLOW = Protocol("slow", 70, 0.5, 60.0, processes=2, warmup_queries=1, warmup_seconds=0.0)


def running_below(folder: Path) -> list[str]:
    """The processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
    return found


@pytest.mark.slow
def test_kill_9_in_the_middle_and_resume(tmp_path: Path) -> None:
    checkout = Path(__file__).parents[2]
    results = tmp_path / "results"
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(checkout), str(tmp_path)],
        cwd=checkout,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )
    deadline = time.monotonic() + 120
    while len(list(results.glob("parts/here/*.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = len(list(results.glob("parts/here/*.json")))
    while running_below(tmp_path / "tmp"):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    artifacts = [Artifact(tmp_path / name, make(tmp_path / "again", name).manifest) for name in "abcd"]
    transport = Counting()
    records = measure(artifacts, results, transport, protocol=SLOW)
    assert len(transport.timed) == 8 - done
    assert [row.submodel for row in records] == list("abcd")
    assert all(row.is_valid for row in records)
    assert lines(results) == sorted(records, key=lambda row: [line.run_id for line in lines(results)].index(row.run_id))
    for path in results.rglob("*.json"):
        json.loads(path.read_text())
    assert not list(results.rglob(".tmp-*"))


def test_a_torn_last_line_costs_only_its_row(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]
    measure(artifacts, tmp_path / "results")
    path = tmp_path / "results" / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-50])
    transport = Counting()
    records = measure(artifacts, tmp_path / "results", transport)
    assert transport.timed == ["b"]
    assert [row.submodel for row in lines(tmp_path / "results")] == ["a", "b"]
    assert all(row.is_valid for row in records)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]
    results = tmp_path / "results"
    measure(artifacts[:1], results)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    class Full(Counting):
        def run(self, *arguments: Any) -> Completed:
            completed = super().run(*arguments)
            if self.timed:
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
            return completed

    try:
        with pytest.raises(EnvironmentFailure, match="cannot write"):
            measure(artifacts, results, Full())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [row.submodel for row in lines(results)] == ["a"]
    assert not list(results.rglob(".tmp-*"))
    assert [row.submodel for row in measure(artifacts, results)] == ["a", "b"]


def test_a_failed_gate_is_a_row_and_is_never_timed(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "good"), make(tmp_path, "bad")]
    results, asked = tmp_path / "results", []

    def gate(artifact: Any, runtime: str, target: Target) -> Verdict:
        asked.append((artifact.folder.name, runtime, target.name))
        return Verdict("failed", "logits differ by 0.5", 0.5) if artifact.folder.name == "bad" else Verdict()

    transport = Counting()
    good, bad = measure(artifacts, results, transport, gate=gate)
    assert transport.timed == ["good"]
    assert asked == [("good", "onnxruntime", "here"), ("bad", "onnxruntime", "here")]
    assert (bad.gate, bad.gate_reason, bad.parity, bad.n) == ("failed", "logits differ by 0.5", 0.5, 0)
    assert bad.validity == "invalid: gate failed: logits differ by 0.5"
    assert not bad.is_valid
    assert good.is_valid
    measure(artifacts, results, gate=gate)
    assert len(lines(results)) == 2
    assert measure(artifacts, results)[1].is_valid


def test_a_newer_verdict_is_written_without_measuring_again(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    results = tmp_path / "results"
    (first,) = measure([artifact], results)
    transport = Counting()
    (scored,) = measure([artifact], results, transport, gate=lambda *_: Verdict(score=96.5))
    assert transport.timed == []
    assert (scored.score_percent, scored.run_id, scored.p90_ms) == (96.5, first.run_id, first.p90_ms)
    (failed,) = measure([artifact], results, transport, gate=lambda *_: Verdict("failed", "worse"))
    assert transport.timed == []
    assert not failed.is_valid


def test_a_gate_that_cannot_be_run_costs_only_its_cell(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]

    def gate(artifact: Any, runtime: str, target: Target) -> Verdict:
        if artifact.folder.name == "a":
            raise DeviceError("the device went away")
        return Verdict()

    lost, found = measure(artifacts, tmp_path / "results", gate=gate)
    assert "the device went away" in lost.validity
    assert found.is_valid


def test_a_cell_that_cannot_be_measured_is_a_row_and_is_tried_again(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]
    whole = artifacts[0].file.read_bytes()
    artifacts[0].file.write_bytes(whole[: len(whole) // 2])
    changed, good = measure(artifacts, tmp_path / "results")
    assert "has changed since its export" in changed.validity
    assert (changed.n, good.is_valid) == (0, True)
    corrupt = Artifact(artifacts[0].folder, {**artifacts[0].manifest, "sha256": sha256_file(artifacts[0].file)})
    (broken,) = measure([corrupt], tmp_path / "results")
    assert broken.validity.startswith("invalid: not measured: here: onnxruntime cannot open")
    artifacts[0].file.write_bytes(whole)
    assert all(row.is_valid for row in measure(artifacts, tmp_path / "results"))


@pytest.mark.slow
def test_a_busy_machine_makes_a_row_invalid_and_it_is_measured_again(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    results = tmp_path / "results"
    strict = dataclasses.replace(HERE, host_checks=("load",), core_mask=hex(1 << max(os.sched_getaffinity(0))))
    protocol = dataclasses.replace(SHORT, minimum_seconds=1.0)
    core = max(os.sched_getaffinity(0))
    burn = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    burner = subprocess.Popen([sys.executable, "-c", burn])
    try:
        transport = Counting()
        (busy,) = measure([artifact], results, transport, target=strict, protocol=protocol)
    finally:
        burner.kill()
        burner.wait()
    assert busy.validity.startswith("invalid: ")
    assert busy.n > 0
    assert len(transport.timed) == 3
    again = Counting()
    measure([artifact], results, again, target=strict, protocol=protocol, retry_invalid=False)
    assert again.timed == []
    measure([artifact], results, again, target=strict, protocol=protocol)
    assert again.timed


def test_features_that_the_target_promises_and_lacks(tmp_path: Path) -> None:
    target = dataclasses.replace(HERE, features=("warp_drive",))
    (record,) = measure([make(tmp_path, "a")], tmp_path / "results", target=target)
    assert record.validity == "degraded: the CPU lacks warp_drive; the profile asks for no host checks"


def test_only_runtimes_that_the_artifact_is_meant_for(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    with pytest.raises(UsageError, match="no artifact for litert among 1"):
        measure([artifact], tmp_path / "results", runtimes=["litert"])
    with pytest.raises(UsageError, match="no artifact"):
        measure([], tmp_path / "results")
    with pytest.raises(UsageError, match="unknown runtime"):
        measure([make(tmp_path, "b", runtimes=None)], tmp_path / "results", runtimes=["nonesuch"])


def test_threads(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    records = measure([artifact], tmp_path / "results", threads=counts)
    assert [row.threads for row in records] == counts
    with pytest.raises(UsageError, match=f"offers 1 to {cores}"):
        measure([artifact], tmp_path / "results", threads=[cores + 1])
    with pytest.raises(UsageError, match="offers 1 to 1"):
        measure([artifact], tmp_path / "results", threads=[2], target=dataclasses.replace(HERE, core_mask="0x1"))


def test_two_benches_of_one_target_do_not_mix(tmp_path: Path) -> None:
    artifact = make(tmp_path, "a")
    with (
        folder_lock(tmp_path / "results" / "parts" / "here", "bench"),
        pytest.raises(EnvironmentFailure, match="another edgevqa process"),
    ):
        measure([artifact], tmp_path / "results")


class Steps:
    def __init__(self) -> None:
        self.total, self.done, self.finished = 0, 0, False

    def start(self, description: str, total: int) -> None:
        self.total = total

    def step(self, description: str, amount: int = 1) -> None:
        self.done += amount

    def finish(self) -> None:
        self.finished = True


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    artifacts = [make(tmp_path, "a"), make(tmp_path, "b")]
    for _ in range(2):
        steps = Steps()
        measure(artifacts, tmp_path / "results", protocol=THREE, progress=steps)
        assert steps.done == steps.total == 8
        assert steps.finished


@pytest.mark.slow
def test_tflite_beside_onnx(tmp_path: Path) -> None:
    onnx = make(tmp_path, "a")
    folder = tmp_path / "a-tflite"
    folder.mkdir()
    tiny_models.write_tflite(folder / "model.tflite")
    changed = {
        "format": "tflite",
        "file": "model.tflite",
        "sha256": sha256_file(folder / "model.tflite"),
        "precision": "int8",
        "runtimes": ["litert"],
    }
    tflite = Artifact(folder, {**onnx.manifest, **changed})
    records = measure([onnx, tflite], tmp_path / "results")
    assert [(row.runtime, row.is_valid) for row in records] == [("onnxruntime", True), ("litert", True)]
    assert records[1].delegate == "XNNPACK"
    assert records[1].percent_of_peak is None
    assert records[1].percent_of_peak_reason == "no peak is known for int8"


def test_a_sweep_of_threads_is_a_row_each_and_ends_at_the_cores(tmp_path: Path) -> None:
    assert [sweep(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
    here = dataclasses.replace(HERE, core_mask=hex(1 << min(os.sched_getaffinity(0))))
    (one,) = measure([make(tmp_path, "a")], tmp_path / "results", target=here, threads=SWEEP)
    assert (one.threads, one.core_mask) == (1, here.core_mask)


def test_cores_that_cannot_be_told_apart_are_refused_before_anything_runs(tmp_path: Path) -> None:
    transport = Counting()
    if len(clusters(probe(HERE))) > 1:
        pytest.skip("this machine has big and little cores")
    with pytest.raises(DeviceError, match=r"here (tells neither the clocks|has \d+ equal cores)"):
        measure(
            [make(tmp_path, "a")], tmp_path / "results", transport, target=dataclasses.replace(HERE, core_mask="big")
        )
    assert transport.timed == []
    assert not (tmp_path / "results" / "records.jsonl").exists()
