"""Complete records, made up but plausible: ten submodels in two formats and two precisions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgevqa.measure.record import RECORDS_NAME, Record

GRID = [
    (0.25, 1),
    (0.25, 2),
    (0.25, 4),
    (0.25, 6),
    (0.5, 2),
    (0.5, 4),
    (0.5, 6),
    (0.75, 4),
    (0.75, 6),
    (1.0, 6),
]
SCORES = [88.4, 90.6, 92.0, 93.1, 94.2, 95.3, 96.4, 96.0, 96.9, 97.3]


def record(**changed: Any) -> Record:
    values: dict[str, Any] = {
        "run_id": "20260101T000000-00000000",
        "experiment_id": "experiment",
        "environment_id": "environment",
        "tool_version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "model": "scenes",
        "model_sha256": "a" * 64,
        "submodel": "w0.5-d6",
        "method": "bst",
        "width": 0.5,
        "depth": 6,
        "parameters": 1_000_000,
        "macs": 10_000_000,
        "tokens": 23,
        "regions": 9,
        "scope": "precomputed regions",
        "artifact": "artifacts/scenes/w0.5-d6/onnx-fp32",
        "artifact_sha256": "b" * 64,
        "format": "onnx",
        "format_version": 18,
        "precision": "fp32",
        "file_mb": 4.0,
        "target": "x86",
        "basis": "measured",
        "runtime": "onnxruntime",
        "runtime_version": "1.31.1",
        "delegate": "CPUExecutionProvider",
        "threads": 1,
        "protocol": "quick",
        "processes": 1,
        "n": 1000,
        "min_ms": 0.9,
        "p50_ms": 1.0,
        "p90_ms": 1.1,
        "p99_ms": 1.4,
        "mean_ms": 1.02,
        "std_ms": 0.05,
        "first_inference_ms": 3.0,
        "load_ms": 20.0,
        "import_ms": 80.0,
        "peak_rss_mb": 90.0,
        "model_rss_mb": 12.0,
        "task": "scenes v1",
        "score_percent": 95.0,
        "score_error": 0.4,
        "score_n": 1000,
        "parity": 1e-6,
        "gate": "passed",
        "validity": "degraded: unknown governor, temperature",
        "samples": "samples/20260101T000000-00000000.npy",
        "process_counts": (1000,),
    }
    return Record(**{**values, **changed})


def forty_records() -> list[Record]:
    chance = random.Random(7)
    rows = []
    for (width, depth), score in zip(GRID, SCORES, strict=True):
        parameters = int(2_000_000 + 5_500_000 * width**2 * depth)
        macs = int(30_000_000 * width**2 * depth + 4_000_000)
        for format_, runtime, factor in (("onnx", "onnxruntime", 1.0), ("tflite", "litert", 1.15)):
            for precision, bytes_each, speed, lost in (("fp32", 4, 1.0, 0.0), ("int8", 1.1, 0.55, 0.25)):
                name = f"w{width:g}-d{depth}"
                p90 = factor * speed * (0.18 + macs / 22e6) * chance.uniform(0.95, 1.05)
                size = parameters * bytes_each / 1e6
                rows.append(
                    record(
                        run_id=f"run-{len(rows):02}",
                        experiment_id=f"experiment-{len(rows):02}",
                        submodel=name,
                        width=width,
                        depth=depth,
                        parameters=parameters,
                        macs=macs,
                        artifact=f"artifacts/scenes/{name}/{format_}-{precision}",
                        artifact_sha256=f"{len(rows):064x}",
                        format=format_,
                        precision=precision,
                        runtime=runtime,
                        file_mb=round(size, 3),
                        min_ms=p90 * 0.9,
                        p50_ms=p90 * 0.95,
                        p90_ms=p90,
                        p99_ms=p90 * 1.3,
                        mean_ms=p90 * 0.96,
                        peak_rss_mb=round(70 + 2.2 * size + (15 if format_ == "onnx" else 0), 2),
                        score_percent=round(score - lost * chance.uniform(0, 2), 2),
                        score_error=round((score * (100 - score) / 1000) ** 0.5, 3),
                    )
                )
    return rows


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    return record


@pytest.fixture
def forty() -> list[Record]:
    return forty_records()


@pytest.fixture
def results(tmp_path: Path, forty: list[Record]) -> Path:
    """A folder of results with the forty records."""
    folder = tmp_path / "results"
    folder.mkdir()
    lines = [json.dumps(row.to_dict()) for row in forty]
    (folder / RECORDS_NAME).write_text("\n".join(lines) + "\n")
    return folder
