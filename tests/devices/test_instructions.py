"""Counts of instructions, and the processors that programs see."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from edgevqa.devices import Target, load_target, open_transport
from edgevqa.devices.emulated import PROCESSORS, find_emulator
from edgevqa.devices.instructions import COUNTS_NAME, plugin, read_counts
from edgevqa.errors import DeviceError, EnvironmentFailure, InputError, UsageError
from tests.lab.devices import Board

HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp"
)
"""The bits of AT_HWCAP on 64-bit ARM, from the lowest."""
PROGRAM = """
import os
def mark(number):
    try:
        os.getpriority(12345, number)
    except OSError:
        return
for size in (1000, 1000, 2000):
    mark(0)
    sum(range(size))
    mark(1)
"""


def target(cpu: str | None = None) -> Target:
    root = str(Board("arm64").folder / "root")
    return Target("emulated", "64-bit ARM", "emulated", ("onnxruntime",), root=root, cpu=cpu, basis="emulated")


def counting_emulator() -> str:
    try:
        emulator = find_emulator()
        plugin(emulator)
    except EnvironmentFailure as error:
        pytest.skip(str(error))
    return emulator


def test_equal_work_costs_equal_instructions_in_every_run() -> None:
    counting_emulator()
    transport = open_transport(target())
    runs = []
    for _ in range(2):
        done = transport.run(["python3", "-c", PROGRAM], {}, [COUNTS_NAME], 300)
        assert done.exit_code == 0, done.stderr
        runs.append(read_counts(done.files[COUNTS_NAME]))
    first, second = runs
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert 1.5 < first[2] / first[1] < 2.5


@pytest.mark.parametrize("cpu", PROCESSORS)
def test_a_program_sees_the_processor_that_is_emulated(cpu: str) -> None:
    transport, root = open_transport(target(cpu)), target().root
    shown = transport.run([f"{root}/bin/cat", "/proc/cpuinfo"], {}, (), 300)
    assert shown.stdout == PROCESSORS[cpu].cpuinfo(), shown.stderr
    told = transport.run([f"{root}/lib/ld-linux-aarch64.so.1", "--list-diagnostics"], {}, (), 300)
    (bits,) = re.findall(r"a_type=0x10\n.*a_val=(0x[0-9a-f]+)", told.stdout)
    has = {name for bit, name in enumerate(HWCAP.split()) if int(bits, 16) >> bit & 1}
    described = set(PROCESSORS[cpu].features.split())
    assert described <= has
    assert ("asimddp" in described) == ("asimddp" in has) == (cpu == "cortex-a76")


@pytest.mark.parametrize("name", ["arm64-emulated", "arm64-emulated-a72"])
def test_the_features_of_a_shipped_profile_are_those_of_its_processor(name: str) -> None:
    profile = load_target(name)
    assert profile.cpu is not None
    assert set(profile.features) <= set(PROCESSORS[profile.cpu].features.split())


def test_a_processor_that_is_not_described_is_refused() -> None:
    with pytest.raises(UsageError, match="emulated: cpu 'cortex-m0' is not one of cortex-a72, cortex-a76"):
        open_transport(Target("emulated", "", "emulated", ("onnxruntime",), cpu="cortex-m0"))


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = counting_emulator()
    plugin.cache_clear()
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"there is no gcc here .*Debian: gcc libc6-dev"):
        plugin(emulator)
    assert not (tmp_path / "plugins").exists()


def test_a_plugin_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = counting_emulator()
    plugin.cache_clear()
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    made = plugin(emulator)
    assert made.parent == tmp_path / "plugins"
    plugin.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert plugin(emulator) == made
    plugin.cache_clear()


def test_an_emulator_without_plugins_says_what_to_install() -> None:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("there is no static qemu here: run `make lab`")
    with pytest.raises(DeviceError, match=r"takes no plugins; install .*Debian 12: qemu-user"):
        plugin(emulator)


def test_counts_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    def write(content: object) -> Path:
        path = tmp_path / COUNTS_NAME
        path.write_text(json.dumps(content))
        return path

    assert read_counts(write({"threads": 1, "total": 9, "queries": [3, 4]})) == [3, 4]
    with pytest.raises(DeviceError, match="2 threads ran"):
        read_counts(write({"threads": 2, "total": 9, "queries": [3, 4]}))
    with pytest.raises(DeviceError, match="no query was marked"):
        read_counts(write({"threads": 1, "total": 9, "queries": []}))
    with pytest.raises(DeviceError, match="wrote no counts"):
        read_counts(write({"threads": 1}))
    (tmp_path / COUNTS_NAME).write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        read_counts(tmp_path / COUNTS_NAME)
