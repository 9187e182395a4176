"""Full-size UNITER_BST and CLIP-ViL_BST through `edgevqa export`: what it takes, and what comes out.

    python benchmarks/full_size_export.py --work /tmp/full-size --model clip-vil-bst-features
    python benchmarks/full_size_export.py --work /tmp/full-size --model clip-vil-bst --format onnx --precision fp32

The weights are seeded, not trained, so that the verdicts are `unscored`: files agree with PyTorch, and answer nothing.
Results are appended to `--results`, one JSON line for each file. Memory is the largest sum of the resident memory of
the export's processes, looked at twice a second. Times are of a machine that does other things, too, unless `--quiet`
says that it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgevqa.checkpoints import Checkpoint
from edgevqa.checkpoints.importers.reference import random_reference
from edgevqa.checkpoints.importers.words import placeholder_answers, placeholder_vocabulary
from edgevqa.checkpoints.native import save_checkpoint
from edgevqa.data.word_pieces import RULE
from edgevqa.export.manifest import load_artifact
from edgevqa.models.families import build
from edgevqa.models.initialisation import initialise
from edgevqa.slimming.counting import count
from edgevqa.slimming.published import PUBLISHED

RESULTS = Path(__file__).parent / "results" / "full_size_export.jsonl"
MODELS = ("uniter-bst", "clip-vil-bst-features", "clip-vil-bst", "mcan-bst")


def seeded(name: str, folder: Path) -> None:
    """A checkpoint folder of a published model's sizes with seeded weights."""
    if (folder / "config.json").exists():
        return
    published = PUBLISHED[name]
    config = published.config
    question = {"rule": "openvqa" if config.family == "mcan" else RULE, "length": config.question_length}
    if config.family != "mcan":
        question["lower_case"] = True
    model = build(config)
    initialise(model, 0)
    made = Checkpoint(
        name=folder.name,
        folder=folder,
        config=config,
        slimming=published.slimming,
        preprocessing={"question": question, "missing": ["vocabulary", "answers"]},
        vocabulary=placeholder_vocabulary(config.vocabulary_size, question),
        answers=placeholder_answers(config.answer_count),
    )
    save_checkpoint(made, dict(model.state_dict()), random_reference(config), "# Seeded weights, untrained\n")


def resident_mb(root: int) -> float:
    """Resident memory of a process and all below it."""
    parents, pages = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pages[int(folder.name)] = int((folder / "statm").read_text().split()[1])
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        total += pages.get(process, 0)
        waiting += [child for child, parent in parents.items() if parent == process]
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def export(arguments: list[str], log: Path) -> tuple[list[dict[str, Any]], float, float]:
    """Run `edgevqa export --json`; returns what it printed, the largest memory in MB, and the seconds."""
    started, largest = time.monotonic(), 0.0
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "edgevqa", "export", *arguments, "--json"], stdout=out)
        while process.poll() is None:
            largest = max(largest, resident_mb(process.pid))
            time.sleep(0.5)
    text = log.read_text()
    if process.returncode not in (0, 1):
        sys.exit(f"export ended with {process.returncode}: {text}")
    return json.loads(text), largest, time.monotonic() - started


def main() -> None:
    """Export each file by itself, so that its memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything goes")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--format", default="onnx,tflite")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quiet", action="store_true", help="nothing else runs here: times are worth noting")
    options = parser.parse_args()
    folder = options.work / f"{options.model}-seeded"
    seeded(options.model, folder)
    config = PUBLISHED[options.model].config
    layers = str(PUBLISHED[options.model].slimming.layers)
    for form in options.format.split(","):
        for precision in options.precision.split(","):
            wanted = ["--model", str(folder), "--width", "1", "--depth", layers, "--format", form]
            wanted += ["--precision", precision, "--out", str(options.work / "artifacts")]
            verdicts, largest, seconds = export(wanted, options.work / "export.json")
            for verdict in verdicts:
                artifact = load_artifact(Path(str(verdict["folder"])), verify=False)
                row = {
                    "model": options.model,
                    "parameters": count(config).parameters,
                    "file": f"{form}-{precision}",
                    "file_mb": round(artifact.file.stat().st_size / 1e6, 1),
                    "runtime": verdict["runtime"],
                    "verdict": verdict["status"],
                    "logit_difference": verdict["parity"]["relative"],
                    "largest_memory_mb": round(largest),
                    "seconds": round(seconds) if options.quiet else None,
                }
                print(json.dumps(row), flush=True)
                with options.results.open("a") as out:
                    out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
