"""Phones without Python: the bundle, the runner in C over real adb, and what goes wrong with them."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import signal
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgevqa.devices import Target, jobs, open_transport
from edgevqa.devices.bundle import Bundle, build_bundle
from edgevqa.devices.jobs import probe, run_job, run_logits, stored_questions
from edgevqa.devices.mock import Answer, MockTransport
from edgevqa.devices.phone import phone_probe
from edgevqa.devices.setup import clean, set_up
from edgevqa.errors import DeviceError, EnvironmentFailure, InputError, UsageError
from edgevqa.measure.checkup import check_up
from edgevqa.runtimes import runner
from edgevqa.storage import cache_folder, sha256_file
from tests.lab.devices import Phone, command_lines, wait_for
from tests.runtimes import tiny_models
from tests.runtimes.test_runner import TIMES

PHONE = Target("phone", "a phone", "adb", ("onnxruntime", "litert"), machine="x86_64")


def built(machine: str = "x86_64") -> Bundle:
    """A bundle; skips the test where there is no network or no compiler for it."""
    if shutil.which("gcc" if machine == "x86_64" else f"{machine}-linux-gnu-gcc") is None:
        pytest.skip(f"there is no compiler for {machine}: run `make lab`")
    try:
        return build_bundle(machine)
    except EnvironmentFailure as error:
        if "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(autouse=True, scope="module")
def kept_cache() -> Iterator[None]:
    """The cache of whoever runs the tests, though the phone has another home: bundles are large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVQA_CACHE", str(cache_folder()))
        yield


@pytest.fixture(scope="module")
def target(kept_cache: None, phone: Phone) -> Iterator[Target]:
    """A profile of the phone with one folder for all tests, for a bundle takes its time to be sent."""
    yield from held(phone)


@pytest.fixture
def bare(kept_cache: None, phone: Phone) -> Iterator[Target]:
    """A profile with a folder where nothing is yet."""
    yield from held(phone)


def held(phone: Phone) -> Iterator[Target]:
    built()
    made = phone.target(runtimes=("onnxruntime", "litert"), machine="x86_64")
    yield made
    shutil.rmtree(phone.path(made), ignore_errors=True)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_bundle_is_whole_and_built_once(machine: str) -> None:
    made = built(machine)
    manifest = json.loads((made.folder / "bundle.json").read_text())
    assert manifest["machine"] == machine
    assert manifest["versions"] == {"onnxruntime": "1.31.1", "litert": "2.3.0"}
    assert {name: sha256_file(made.folder / name) for name in manifest["files"]} == manifest["files"]
    elf = 62 if machine == "x86_64" else 183
    for name in set(manifest["files"]) - {"versions.json"}:
        head = (made.folder / name).read_bytes()[:20]
        assert (head[:4], head[18]) == (b"\x7fELF", elf), name
    assert 30e6 < manifest["bytes"] < 80e6
    changed = (made.folder / "edgevqa-runner").stat().st_mtime_ns
    assert build_bundle(machine).folder == made.folder
    assert (made.folder / "edgevqa-runner").stat().st_mtime_ns == changed
    assert "libLiteRt.so" not in made.files("onnxruntime") and "libLiteRt.so" in made.files("litert")
    with (made.folder / "versions.json").open("a") as stream:
        stream.write(" ")
    assert build_bundle(machine).manifest == manifest
    assert sha256_file(made.folder / "versions.json") == manifest["files"]["versions.json"]


def test_phones_of_a_fleet_ask_for_their_bundle_at_once() -> None:
    first = built()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(build_bundle, ["x86_64"] * 4))
    assert [one.folder for one in found] == [first.folder] * 4


def test_what_cannot_be_built_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no bundle for 'riscv64', only for aarch64, x86_64"):
        build_bundle("riscv64")
    with pytest.raises(UsageError, match="tflite_runtime runs only where there is Python"):
        build_bundle("x86_64", ["tflite_runtime"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match=r"there is no aarch64-linux-gnu-gcc here.*gcc-aarch64-linux-gnu"):
        build_bundle("aarch64")
    compiler = tmp_path / "aarch64-linux-gnu-gcc"
    compiler.write_text("#!/bin/sh\necho 'gcc 1'\n")
    compiler.chmod(0o755)
    with pytest.raises(EnvironmentFailure, match=r"has no ld-linux-aarch64\.so\.1"):
        build_bundle("aarch64")
    compiler.write_text(f"#!/bin/sh\necho {compiler}\n")
    with pytest.raises(EnvironmentFailure, match=r"needs glibc 2\.28, and .* is older"):
        build_bundle("aarch64")


def test_runtimes_are_brought_run_and_removed(bare: Target, phone: Phone, tmp_path: Path) -> None:
    target, transport = bare, open_transport(bare)
    first = set_up(target, transport=transport)
    assert [one.runtime for one in first] == ["onnxruntime", "litert"]
    assert all(one.sent and one.version in one.wheels[0] for one in first)
    assert not any(one.sent for one in set_up(target, transport=transport))
    model = tiny_models.write_onnx(tmp_path / 'it\'s "x"; rm -rf $HOME.onnx')
    questions = tiny_models.write_questions(tmp_path / "q.npz")
    logits, values = run_logits(target, model, questions, "onnxruntime", transport=transport)
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
    assert (values["python"], values["runtime_version"], values["machine"]) == (None, "1.31.1", "x86_64")
    owners = {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in (phone.path(target) / "files").iterdir()}
    assert owners == {(2000, 0o700)}
    clean(target)
    assert not phone.path(target).exists()


@pytest.mark.slow
def test_litert_runs_there(target: Target, tmp_path: Path) -> None:
    model = tiny_models.write_tflite(tmp_path / "model.tflite")
    questions = tiny_models.write_questions(tmp_path / "q.npz")
    logits, values = run_logits(target, model, questions, "litert", threads=2)
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
    assert (values["delegate"], values["threads"], values["runtime_version"]) == ("XNNPACK", 2, "2.3.0")


def test_broken_files_are_named_as_the_user_knows_them(target: Target, tmp_path: Path) -> None:
    model = tiny_models.write_onnx(tmp_path / "model.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:200])
    questions = tiny_models.write_questions(tmp_path / "q.npz")
    transport = open_transport(target)
    with pytest.raises(InputError, match=r"cannot open .*broken\.onnx"):
        run_logits(target, broken, questions, "onnxruntime", transport=transport)
    with pytest.raises(InputError, match=r"cannot read the questions in .*model\.onnx: it is no zip file"):
        run_logits(target, model, model, "onnxruntime", transport=transport)


def test_doctor_names_the_runtimes_of_the_runner(target: Target, phone: Phone, tmp_path: Path) -> None:
    profile = tmp_path / "phone.toml"
    profile.write_text(
        f'name = "phone"\ndescription = "x"\nkind = "adb"\nserial = "{phone.serial}"\n'
        f'folder = "{target.folder}"\nruntimes = ["onnxruntime", "litert"]\nmachine = "x86_64"\n'
    )
    report = check_up(profile)
    assert report.facts["runtimes"] == "onnxruntime 1.31.1, ai-edge-litert 2.3.0"
    assert report.ready and not report.missing


def test_the_name_of_a_chip_is_told_where_android_knows_it() -> None:
    said = "machine=aarch64\ncpu=Google Tensor G3\ncpu=ARMv8\ncore=\ncore=\nabi=arm64-v8a\n"
    found = phone_probe(MockTransport(lambda _call: Answer(stdout=said)), "phone")
    assert (found["cpu_model"], found["cores"]) == ("Google Tensor G3", 2)
    older = phone_probe(MockTransport(lambda _call: Answer(stdout="machine=aarch64\ncpu= \n")), "phone")
    assert older["cpu_model"] is None


def test_its_peak_is_known_whatever_the_runtime(target: Target) -> None:
    job = {"mode": "peak", "runtime": "litert"}
    assert run_job(open_transport(target), target, job, {}).values["gflops"] > 0.01


def test_a_phone_that_is_not_what_its_profile_says(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="target phone should be aarch64, but the device is x86_64"):
        probe(dataclasses.replace(target, machine="aarch64"), "onnxruntime")
    monkeypatch.setattr(jobs, "phone_probe", lambda *_: {"machine": "armv8l"})
    with pytest.raises(DeviceError, match="phone is armv8l, and the runner is there for aarch64, x86_64 only"):
        probe(dataclasses.replace(target, machine=None), "onnxruntime")


def test_no_room_for_the_bundle(target: Target) -> None:
    with pytest.raises(DeviceError, match=r"No space left.*make room there") as caught:
        set_up(dataclasses.replace(target, folder="/mnt/small/phone"))
    assert "\n" not in str(caught.value)


def test_a_program_of_another_architecture_is_one_line(
    target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = built()
    wrong = Bundle(Path(shutil.copytree(good.folder, tmp_path / "wrong")), good.manifest)
    with (wrong.folder / "ld-linux-x86-64.so.2").open("r+b") as stream:
        stream.seek(18)
        stream.write(b"\x16")  # S/390
    monkeypatch.setattr(jobs, "native_bundle", lambda *_: wrong)
    with pytest.raises(DeviceError, match=r"phone (cannot start the runner|ended)") as caught:
        probe(target, "onnxruntime")
    assert "\n" not in str(caught.value)


def test_a_library_that_is_missing_there_is_named(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    good = built()
    files = {name: sha for name, sha in good.manifest["files"].items() if name != "libonnxruntime.so"}
    lacking = Bundle(good.folder, {**good.manifest, "files": files})
    monkeypatch.setattr(jobs, "native_bundle", lambda *_: lacking)
    with pytest.raises(DeviceError, match=r"onnxruntime cannot be opened here.*edgevqa device setup --target phone"):
        probe(target, "onnxruntime")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(137), "the runner on phone was killed, perhaps because the memory did not suffice"),
        (Answer(-9), "the runner on phone was killed"),
        (Answer(139, stderr="INFO: x"), "crashed with signal 11; its last words: INFO: x"),
        (Answer(126, stderr="env: Exec format error"), "phone cannot start the runner; .*Exec format error"),
        (Answer(0, stdout="Killed"), "exit code 0 and without a result"),
    ],
)
def test_how_a_runner_can_end(answer: Answer, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Bundle(Path(), {"machine": "x86_64", "files": {}})
    monkeypatch.setattr(jobs, "native_bundle", lambda *_: empty)
    with pytest.raises(DeviceError, match=words):
        probe(PHONE, "litert", MockTransport(lambda _call: answer))


def test_garbage_before_the_result_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Bundle(Path(), {"machine": "x86_64", "files": {}})
    monkeypatch.setattr(jobs, "native_bundle", lambda *_: empty)
    result = json.dumps({"ok": True, **runner.probe()})
    said = f'WARNING: linker: {{"ok": 1}}\n\nEDGEVQA-RESULT {result}\n'
    found = probe(PHONE, "litert", MockTransport(lambda _call: Answer(stdout=said)))
    assert found["machine"] == platform.machine()


def test_only_compressed_questions_are_written_anew(tmp_path: Path) -> None:
    stored = tiny_models.write_questions(tmp_path / "stored.npz")
    assert stored_questions(stored, tmp_path) == stored
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, **tiny_models.questions())
    sums = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        unpacked = stored_questions(packed, tmp_path / name)
        with zipfile.ZipFile(unpacked) as archive:
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        with np.load(unpacked) as arrays:
            np.testing.assert_array_equal(arrays["regions"], tiny_models.questions()["regions"])
        sums.add(sha256_file(unpacked))
    assert len(sums) == 1
    for broken in (b"", packed.read_bytes()[:300]):
        packed.write_bytes(broken)
        assert stored_questions(packed, tmp_path) == packed


def test_a_runner_that_is_killed_there_is_one_line(target: Target, tmp_path: Path) -> None:
    model, questions = tiny_models.write_onnx(tmp_path / "model.onnx"), tiny_models.write_questions(tmp_path / "q.npz")
    long = {**TIMES, "minimum_seconds": 60.0, "maximum_seconds": 60.0}
    job = {"mode": "time", "runtime": "onnxruntime", "model": "m.onnx", "inputs": "q.npz", "samples": "s.npy", **long}
    before = set(runners())
    with ThreadPoolExecutor() as pool:
        task = pool.submit(
            run_job, open_transport(target), target, job, {"m.onnx": model, "q.npz": questions}, ["s.npy"]
        )
        wait_for(lambda: bool(set(runners()) - before))
        for process in set(runners()) - before:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(DeviceError, match="the runner on phone was killed") as caught:
            task.result()
    assert "\n" not in str(caught.value)


def runners() -> list[int]:
    """The runners on simulated phones; a shell that only starts one does not count."""
    return [process for process, line in command_lines().items() if line.startswith("./ld-linux")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_64_bit_arm_phone(arm64_phone: Phone, tmp_path: Path) -> None:
    built("aarch64")
    target = arm64_phone.target(machine="aarch64", basis="emulated")
    try:
        model, questions = tiny_models.write_onnx(tmp_path / "model.onnx"), tmp_path / "q.npz"
        np.savez_compressed(questions, **tiny_models.questions())
        logits, values = run_logits(target, model, questions, "onnxruntime")
        np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
        assert values["machine"] == "aarch64"
    finally:
        shutil.rmtree(arm64_phone.path(target), ignore_errors=True)
