"""Instructions as a figure of a measurement on an emulated target."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from edgevqa.devices import Target, load_target, open_transport
from edgevqa.errors import DeviceError
from edgevqa.measure.bench import bench
from edgevqa.measure.instructions import count_instructions, why_not_counted
from edgevqa.measure.protocols import Protocol
from edgevqa.measure.record import Record
from tests.measure.test_bench import Verdict, make

FEW = Protocol("few", 12, 0.0, 60.0, warmup_queries=2, warmup_seconds=0.0, retries=0)


def measured(folder: Path, target: Target, *threads: int) -> list[Record]:
    return bench(
        [make(folder, "a")],
        target,
        gate=lambda *_: Verdict(),
        results=folder / "results",
        runtimes=["onnxruntime"],
        protocol=FEW,
        threads=threads,
    )


@pytest.mark.slow
def test_a_row_of_an_emulated_target_holds_them_for_one_thread(emulated: Target, tmp_path: Path) -> None:
    if why_not_counted(emulated, 1):
        pytest.skip(str(why_not_counted(emulated, 1)))
    older = dataclasses.replace(emulated, name="older", cpu="cortex-a72")  # it still expects dot products
    record, two = measured(tmp_path, older, 1, 2)
    assert (record.basis, record.n, record.simulated_instructions_reason) == ("emulated", 12, None)
    assert record.simulated_instructions is not None and record.simulated_instructions > 10_000
    assert record.simulated_instructions_spread_percent is not None
    assert 0 <= record.simulated_instructions_spread_percent < 20
    assert record.percent_of_peak is None and record.percent_of_peak_reason == "emulated: its times say nothing"
    assert record.validity.startswith("degraded") and "the CPU lacks asimddp" in record.validity
    assert two.n == 12 and two.simulated_instructions is None
    assert two.simulated_instructions_reason == (
        "how long 2 threads wait for each other is chance; they are counted with 1 thread"
    )
    counted = count_instructions(make(tmp_path, "b"), "onnxruntime", older, open_transport(older), 12)
    assert counted.median == pytest.approx(record.simulated_instructions, rel=0.01)


def test_a_real_machine_counts_none(tmp_path: Path) -> None:
    here = Target("here", "this machine", "local", ("onnxruntime",))
    (record,) = measured(tmp_path, here, 1)
    assert record.n == 12 and record.simulated_instructions is None
    assert record.simulated_instructions_reason == "they are counted on targets of the kind emulated only"
    with pytest.raises(DeviceError, match="here: they are counted on targets of the kind emulated only"):
        count_instructions(make(tmp_path, "b"), "onnxruntime", here, open_transport(here), 4)


def test_without_a_compiler_or_the_right_qemu_the_reason_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static = shutil.which("qemu-aarch64-static")
    if static is None:
        pytest.skip("there is no static qemu here: run `make lab`")
    (tmp_path / "qemu-aarch64-static").symlink_to(static)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = why_not_counted(load_target("arm64-emulated"), 1)
    assert reason is not None and "takes no plugins; install a dynamic qemu-aarch64 (Debian 12: qemu-user)" in reason
