"""Simulated instructions of the ten submodels of `scenes` against the committed ones: has an export become dearer?

    python benchmarks/instructions.py                        # against benchmarks/results/instructions.json
    python benchmarks/instructions.py --submodel w0.25-d1    # only a part
    python benchmarks/instructions.py --write                # take these as the new ones

ONNX and TFLite, fp32 and int8, on the processors of the Raspberry Pi 4 and 5, one thread, the median over the first
reference questions. Counts do not depend on the machine or its load; they do on versions, and with others than those of
the baseline the comparison is inconclusive. Exit code 1: a count differs by more than 1 %. 4: inconclusive. It needs
`make lab`, qemu-user and gcc; all of it takes some five minutes on two cores, and exports are kept in --work.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgevqa.checkpoints import load_checkpoint
from edgevqa.devices import Target, load_target, open_transport
from edgevqa.devices.emulated import PROCESSORS, find_emulator
from edgevqa.devices.instructions import qemu_version
from edgevqa.devices.jobs import probe
from edgevqa.devices.setup import PINS, set_up
from edgevqa.errors import EdgeVQAError, GateFailed, Inconclusive, UsageError
from edgevqa.export.manifest import Artifact
from edgevqa.export.pool import export_many
from edgevqa.measure.instructions import count_instructions
from edgevqa.slimming.grid import grid
from edgevqa.storage import read_json, write_json

BASELINE = Path(__file__).parent / "results" / "instructions.json"
MODEL, TARGET = "scenes", "arm64-emulated"
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
TOLERANCE_PERCENT = 1.0
QUERIES = 16

Counts = dict[str, dict[str, dict[str, int]]]
"""submodel -> format and precision -> processor -> instructions of a query."""


def export(submodels: Sequence[str], work: Path) -> list[Artifact]:
    """The submodels of these names, or all ten, in both formats and precisions; what is in `work` is not made again."""
    checkpoint = load_checkpoint(MODEL)
    plans = {plan.name: plan for plan in grid(checkpoint.config, checkpoint.slimming)}
    unknown = set(submodels) - set(plans)
    if unknown:
        raise UsageError(f"{MODEL} has no submodel {', '.join(sorted(unknown))}; it has {', '.join(plans)}")
    chosen = [plans[name] for name in submodels or plans]
    return export_many(checkpoint, chosen, precisions=("fp32", "int8"), out=work)


def versions(artifacts: Sequence[Artifact], target: Target) -> dict[str, str]:
    """All that a count depends on besides the model: exporter, runtimes, the system in the root, the emulator."""
    found = probe(target)
    named: dict[str, str] = {}
    for artifact in artifacts:
        named |= artifact.manifest["versions"]
    del named["edgevqa"]  # its own changes are what is looked for
    for runtime in RUNTIMES.values():
        for pin in PINS[runtime].packages:
            package, _, version = pin.partition("==")
            named[f"device: {package}"] = version
    qemu = ".".join(qemu_version(find_emulator()).split(".")[:2])
    return {**named, "device: Python": str(found["python"]), "device: C library": str(found["libc"]), "qemu": qemu}


def count_all(artifacts: Sequence[Artifact], target: Target, workers: int) -> Counts:
    """Count every artifact on every processor; `target` has the runtimes already."""
    places = {cpu: dataclasses.replace(target, cpu=cpu) for cpu in PROCESSORS}
    transports = {cpu: open_transport(place) for cpu, place in places.items()}
    cells = [(artifact, cpu) for artifact in artifacts for cpu in PROCESSORS]

    def one(cell: tuple[Artifact, str]) -> int:
        artifact, cpu = cell
        runtime = RUNTIMES[artifact.manifest["format"]]
        return count_instructions(artifact, runtime, places[cpu], transports[cpu], QUERIES).median

    counts: Counts = {}
    with ThreadPoolExecutor(workers) as pool:
        for (artifact, cpu), found in zip(cells, pool.map(one, cells), strict=True):
            kinds = counts.setdefault(artifact.manifest["submodel"], {})
            kinds.setdefault(f"{artifact.manifest['format']}-{artifact.manifest['precision']}", {})[cpu] = found
    return counts


def compare(found: Counts, baseline: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Print a table of all rows, whatever comes of it.

    Raises:
        GateFailed: a row differs by more than the tolerance.
        Inconclusive: the baseline is of other versions, or does not know a row.
    """
    named = baseline["versions"]
    others = [
        f"{name} {here.get(name, 'missing')} instead of {named.get(name, 'none')}"
        for name in sorted(named.keys() | here.keys())
        if named.get(name) != here.get(name)
    ]
    different, unknown = [], []
    print(f"{'submodel':<10}{'file':<13}{'processor':<12}{'instructions':>14}{'baseline':>14}{'difference':>12}")
    for submodel, kinds in found.items():
        for kind, processors in kinds.items():
            for cpu, count in processors.items():
                old = baseline["counts"].get(submodel, {}).get(kind, {}).get(cpu)
                change = "unknown" if old is None else f"{100 * (count - old) / old:+.2f} %"
                print(f"{submodel:<10}{kind:<13}{cpu:<12}{count:>14,}{old or 0:>14,}{change:>12}")
                row = f"{submodel} {kind} on {cpu}: {change}"
                if old is None:
                    unknown.append(row)
                elif abs(count - old) > old * TOLERANCE_PERCENT / 100:
                    different.append(row)
    if others:
        raise Inconclusive(
            f"the baseline is of other versions: {'; '.join(others)}. "
            "Where that is meant, take the new counts with --write"
        )
    if unknown:
        raise Inconclusive(f"the baseline lacks {'; '.join(unknown)}; take the new counts with --write")
    if different:
        raise GateFailed(f"more than {TOLERANCE_PERCENT:g} % away from the baseline: {'; '.join(different)}")


def main() -> int:
    """Count, compare or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--submodel", action="append", default=[], help="only these, such as w0.25-d1")
    parser.add_argument("--work", type=Path, default=Path("runs/instructions"), help="where exports are kept")
    parser.add_argument("--root", help="an arm64 root file system instead of the lab's")
    parser.add_argument("--workers", type=int, default=2, help="how many are counted at the same time")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--write", action="store_true", help="write the baseline instead of comparing with it")
    chosen = parser.parse_args()
    try:
        target = load_target(TARGET)
        if chosen.root:
            target = dataclasses.replace(target, root=str(Path(chosen.root).absolute()))
        artifacts = export(chosen.submodel, chosen.work)
        set_up(target, tuple(RUNTIMES.values()))
        here = versions(artifacts, target)
        counts = count_all(artifacts, target, chosen.workers)
        if chosen.write:
            sha256 = artifacts[0].manifest["model_sha256"]
            content = {"model": MODEL, "model_sha256": sha256, "queries": QUERIES, "versions": here, "counts": counts}
            write_json(chosen.baseline, content)
            print(f"written: {chosen.baseline}")
            return 0
        compare(counts, read_json(chosen.baseline), here)
    except EdgeVQAError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"all within {TOLERANCE_PERCENT:g} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
