"""From a model to GPU rows: here and over adb, with a GPU made in software, without one, and by the official tool."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import HERE, SMALLEST, Program, says
from tests.devices.test_benchmark_model import ON_OPENCL, RUNS, SUMMARY, WHOLE
from tests.lab.devices import Phone, gpu_environment
from tests.runtimes.test_delegates import NO_GPU

KIOSK = 'name = "kiosk"\ndescription = ""\nkind = "local"\nruntimes = ["litert"]\ndelegate = "gpu"\n'
SMOKE = ("--protocol", "smoke")
ON_GPU = ("--target", HERE, "--runtime", "litert", "--delegate", "gpu", *SMOKE)


@pytest.fixture(scope="module")
def files(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest submodel as TFLite in three precisions. Do not change it."""
    folder = tmp_path_factory.mktemp("files")
    precisions = ("--precision", "fp32,fp16,int8", "--scheme", "half-gpu")
    program.json("export", *SMALLEST, "--format", "tflite", *precisions, cwd=folder)
    return folder


def check_gpu_rows(records: list[dict[str, Any]], tolerance: float) -> None:
    for record in records:
        assert (record["gate"], record["requested_delegate"], record["delegate"]) == ("passed", "gpu", "GPU")
        assert (record["fully_accelerated"], record["coverage_percent"]) == (True, 100)
        assert record["adapter"].startswith("SwiftShader") and record["adapter"].endswith(", software")
        assert record["fell_back"] is None and record["n"] == 64
        assert record["validity"].startswith("degraded: ") and "made in software" in record["validity"]
        assert 0 < record["parity"] <= (tolerance if record["precision"] == "fp32" else 0.01)


@pytest.mark.slow
def test_a_gpu_in_process(program: Program, files: Path, tmp_path: Path) -> None:
    environment, fp32 = gpu_environment(), next(files.rglob("tflite-fp32"))
    report = program.json("bench", *ON_GPU, "--results", tmp_path, cwd=files, **environment)
    assert sorted(record["precision"] for record in report["records"]) == ["fp16", "fp32"]
    check_gpu_rows(report["records"], 1e-4)
    (left_out,) = report["left_out"]
    assert left_out["folder"].endswith("tflite-int8") and "weights of 8 bits" in left_out["reason"]
    verdicts = [json.loads(path.read_text()) for path in files.rglob(f"gate-litert-{HERE}*.json")]
    assert sorted(verdict["delegate"] for verdict in verdicts) == ["cpu"] * 3 + ["gpu"] * 2
    places = [json.loads(path.read_text()) for path in tmp_path.glob("environments/*.json")]
    assert [place["environment"]["adapter"][:11] for place in places] == ["SwiftShader"]

    # without the GPU: one line, nothing falls back silently, and with leave the row says so
    says(program("bench", *ON_GPU, "--results", tmp_path, cwd=files, **NO_GPU), 3, "finds no GPU", "--allow-fallback")
    fallback = (fp32, *ON_GPU, "--allow-fallback", "--results", tmp_path)
    (record,) = program.json("bench", *fallback, cwd=files, **NO_GPU)["records"]
    assert record["delegate"] == "XNNPACK" and "finds no GPU" in record["fell_back"]
    assert record["validity"].startswith("invalid") or "not all on gpu" in record["validity"]
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len({row["experiment_id"] for row in rows}) == len(rows) == 3
    assert "on XNNPACK (fell back)" in program("pareto", "--results", tmp_path, cwd=files).stdout


def test_what_a_runtime_does_not_have(program: Program, files: Path, tmp_path: Path) -> None:
    done = program("bench", *ON_GPU[:-4], "--delegate", "gpuu", cwd=files)
    says(done, 2, "unknown delegate 'gpuu'", "did you mean gpu?")
    target = tmp_path / "kiosk.toml"
    target.write_text(KIOSK)
    export = ("export", *SMALLEST, "--target", target, "--precision")
    says(program(*export, "fp32", cwd=tmp_path), 2, "kiosk computes on gpu; leave out --format onnx")
    says(program(*export, "int8", "--format", "tflite", cwd=tmp_path), 2, "tflite int8 is for CPUs")
    int8 = next(files.rglob("tflite-int8"))
    says(program("bench", int8, *ON_GPU, cwd=tmp_path, **NO_GPU), 2, "no artifact for litert on gpu", "8 bits")


@pytest.mark.slow
def test_doctor_tries_what_is_there(program: Program, tmp_path: Path) -> None:
    profile = tmp_path / "kiosk.toml"
    profile.write_text(KIOSK)
    report = program.json("doctor", "--target", profile, cwd=tmp_path, **gpu_environment())
    assert "ai-edge-litert gpu: SwiftShader" in report["facts"]["accelerators"] and report["missing"] == []
    report = program.json("doctor", "--target", profile, cwd=tmp_path, code=3, **NO_GPU)
    assert report["facts"]["accelerators"] == "none found"
    assert "litert on gpu" in report["missing"][0] and "finds no GPU" in report["missing"][0]


def profile_of(phone: Phone, folder: Path, more: str = "") -> Path:
    target = dataclasses.replace(phone.target(), name="phone-gpu")
    path = folder / "phone-gpu.toml"
    path.write_text(
        f'name = "phone-gpu"\ndescription = ""\nkind = "adb"\nserial = "{target.serial}"\nfolder = "{target.folder}"\n'
        f'runtimes = ["litert"]\ndelegate = "gpu"\n{more}\n[tolerances]\nfp32 = 0.01\n'
    )
    return path


@pytest.mark.slow
def test_a_gpu_over_adb(program: Program, files: Path, gpu_phone: Phone, tmp_path: Path) -> None:
    profile = profile_of(gpu_phone, tmp_path)
    fp32 = next(files.rglob("tflite-fp32"))
    report = program.json("bench", fp32, "--target", profile, *SMOKE, "--results", tmp_path, cwd=files)
    assert len(report["records"]) == 1
    check_gpu_rows(report["records"], 0.01)
    program("device", "clean", "--target", profile, cwd=files)


@pytest.mark.slow
def test_a_phone_without_a_gpu_and_the_official_tool(
    program: Program, files: Path, phone: Phone, tmp_path: Path
) -> None:
    bench = ("bench", "--target", profile_of(phone, tmp_path), *SMOKE, "--results", tmp_path)
    says(program(*bench, cwd=files), 3, "finds no GPU", "benchmark_model")
    tool = tmp_path / "benchmark_model"
    sizes = "56 56 1008 36 180"
    tool.write_text(
        "#!/system/bin/sh\n"
        f'[ "$(echo $(wc -c < input-0.bin) $(for i in 1 2 3 4; do wc -c < input-$i.bin; done))" = "{sizes}" ] '
        "|| { echo 'ERROR: other inputs' >&2; exit 1; }\n"
        f"cat <<'END'\n{ON_OPENCL}{WHOLE}{RUNS}{SUMMARY}END\n"
    )
    tool.chmod(0o755)
    report = program.json(*bench, cwd=files, EDGEVQA_BENCHMARK_MODEL=str(tool))
    assert len(report["records"]) == 2
    for record in report["records"]:
        assert (record["runtime"], record["delegate"], record["n"]) == ("benchmark_model", "GPU (OpenCL)", 64)
        assert (record["mean_ms"], record["load_ms"], record["p90_ms"]) == (pytest.approx(35.1349), 842.225, None)
        assert "no samples" in record["percentiles_reason"]
        assert record["gate"] == "unscored" and "prints no logits" in record["gate_reason"]
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == 2
    program.json(*bench, cwd=files, EDGEVQA_BENCHMARK_MODEL=str(tool))
    assert (tmp_path / "records.jsonl").read_text().splitlines() == lines, "what was measured stays"
    program("device", "clean", "--target", tmp_path / "phone-gpu.toml", cwd=files)
