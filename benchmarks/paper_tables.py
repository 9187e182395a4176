"""BST's published figures beside those of edgevqa: parameters and FLOPs of all 16 submodels, the abstract's claims.

    python benchmarks/paper_tables.py > benchmarks/results/paper_tables.txt
    python benchmarks/paper_tables.py --work runs/paper --protocol standard

With --work, the smallest submodel of a full-size MCAN_BST with seeded weights is also exported and timed on this
machine; that takes some minutes and a gigabyte of disk, and goes on where it was stopped.

Sources: "paper" is the abstract of arXiv 2203.12814 (v2); "authors" is arithmetic that was checked against the module
of MILVLG/bst, and the accuracies in its README and in that of MILVLG/mcan-vqa (VQA-v2 test-dev). The paper's own tables
could not be read.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.slimming.counting import Counts, count
from edgevqa.slimming.grid import bst_plan, grid_pairs
from edgevqa.slimming.published import PUBLISHED
from edgevqa.slimming.rules import slice_config

if TYPE_CHECKING:
    from edgevqa.measure.record import Record

BST, SMALL = PUBLISHED["mcan-bst"], PUBLISHED["mcan-small"]
SMALLEST, HALF = (Fraction(1, 4), 1), (Fraction(1, 2), 6)
CLAIM_MS = 60.0

AUTHORS: dict[tuple[str, int], tuple[float, float]] = {
    ("1/4", 1): (9.534, 0.1646), ("1/4", 2): (9.997, 0.2228),
    ("1/4", 4): (10.923, 0.3393), ("1/4", 6): (11.849, 0.4558),
    ("1/2", 1): (12.341, 0.3949), ("1/2", 2): (14.184, 0.6160),
    ("1/2", 4): (17.870, 1.0581), ("1/2", 6): (21.557, 1.5003),
    ("3/4", 1): (16.261, 0.7376), ("3/4", 2): (20.402, 1.2261),
    ("3/4", 4): (28.684, 2.2031), ("3/4", 6): (36.966, 3.1801),
    ("1", 1): (21.295, 1.1926), ("1", 2): (28.652, 2.0532),
    ("1", 4): (43.365, 3.7742), ("1", 6): (58.077, 5.4952),
}  # fmt: skip
"""(width, layers) -> millions of parameters, GFLOPs."""
AUTHORS_SMALL = (57.812491, 5.488)
AUTHORS_PARAMETERS = {("1/4", 1): 9_534_263, ("1/2", 6): 21_556_535, ("1", 6): 58_077_495}
"""Counted to the last one."""
ACCURACY = {("1/4", 2): 68.13, ("1/2", 2): 69.53, ("1/2", 6): 70.48, ("1", 6): 71.04}


def counts_of(pair: tuple[Fraction, int], vocabulary: int = BST.config.vocabulary_size) -> Counts:
    """Parameters and MACs of a submodel of MCAN_BST for VQA-v2."""
    config = replace(BST.config, vocabulary_size=vocabulary)
    return count(slice_config(config, bst_plan(config, BST.slimming, *pair, filtered=False)))


def attention_products(config: MCANConfig) -> int:
    """MACs of the two products of every attention."""
    words, regions = config.question_length, config.image.tokens
    own = sum(2 * words * words * layer.heads for layer in config.encoder)
    seen = sum(2 * regions * (regions * layer.self_heads + words * layer.guided_heads) for layer in config.decoder)
    return (own + seen) * config.head_size


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as they need to be."""
    lines = [list(heading), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heading))]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(line).rstrip() for line in padded]


def grid_table() -> list[str]:
    """All 16 submodels: parameters and FLOPs of the authors' module and ours."""
    small = count(SMALL.config)
    kept = set(grid_pairs(BST.slimming))
    rows = []
    for pair in grid_pairs(BST.slimming, filtered=False):
        ours, key = counts_of(pair), (str(pair[0]), pair[1])
        parameters, flops = AUTHORS[key]
        difference = 100 * max(abs(ours.parameters / 1e6 / parameters - 1), abs(ours.flops / 1e9 / flops - 1))
        rows.append(
            [
                *(key[0], f"{pair[1]}/6", "yes" if pair in kept else "no"),
                *(f"{parameters:.3f}", f"{ours.parameters / 1e6:.3f}", f"{flops:.4f}", f"{ours.flops / 1e9:.4f}"),
                f"{difference:.3f} %",
                *(f"{ours.parameters / small.parameters:.3f}", f"{ours.flops / small.flops:.3f}"),
                f"{ACCURACY[key]:.2f}" if key in ACCURACY else "",
            ]
        )
    sizes = [f"{AUTHORS_SMALL[0]:.3f}", f"{small.parameters / 1e6:.3f}"]
    flops_of_small = [f"{AUTHORS_SMALL[1]:.4f}", f"{small.flops / 1e9:.4f}"]
    rows.append(["MCAN", "small", "", *sizes, *flops_of_small, "", "1.000", "1.000", "70.70"])
    heading = ["width", "depth", "kept", "authors M", "ours M", "authors GFLOPs", "ours GFLOPs", "difference"]
    return table([*heading, "size/MCAN", "FLOPs/MCAN", "authors' test-dev %"], rows)


def claims() -> list[str]:
    """The abstract's four sizes, and how each is reached."""
    smallest, half, full, small = counts_of(SMALLEST), counts_of(HALF), counts_of((Fraction(1), 6)), count(SMALL.config)
    without = smallest.flops - 2 * attention_products(
        slice_config(BST.config, bst_plan(BST.config, BST.slimming, *SMALLEST))
    )
    half_config = slice_config(BST.config, bst_plan(BST.config, BST.slimming, *HALF))
    bare = (half.flops - 2 * attention_products(half_config)) / (small.flops - 2 * attention_products(SMALL.config))
    row = BST.config.word_size
    all_words = BST.config.vocabulary_size
    most = all_words - math.ceil((smallest.parameters - 9.5e6 + 1) / row)
    fewest = all_words - math.floor((half.parameters - 21.5e6) / row)
    rounded = round(half.parameters / 1e6) / round(full.parameters / 1e6)
    return [
        f"9M parameters (smallest): ours {smallest.parameters:,} (w 1/4, d 1/6), the authors' module "
        f"{AUTHORS_PARAMETERS['1/4', 1]:,}.",
        f"    9.53 M rounds to 10: 9 is its first digit. With {fewest:,} to {most:,} words instead of {all_words:,} "
        "it rounds to 9, and (1/2, 1) to 22.",
        f"0.16G FLOPs (smallest): ours {smallest.flops / 1e9:.4f} G, twice the {smallest.macs / 1e6:.2f} MMACs.",
        f"    {without / 1e9:.4f} G without the products within attention, which rounds alike; MACs alone would be "
        f"{smallest.macs / 1e9:.2f} G, and then no submodel has 0.16.",
        f"0.27x FLOPs: ours {half.flops / small.flops:.3f} (w 1/2, d 1 against MCAN-small); {bare:.3f} without the "
        "products within attention.",
        f"0.38x size: ours {half.parameters / small.parameters:.3f}; {rounded:.3f} from the rounded "
        f"{round(half.parameters / 1e6)} M and {round(full.parameters / 1e6)} M.",
    ]


def latency(work: Path, protocol: str) -> list[str]:
    """Export the smallest submodel of a full-size MCAN_BST with seeded weights, and time it on this machine."""
    from edgevqa.checkpoints import Checkpoint, load_checkpoint
    from edgevqa.checkpoints.importers.reference import random_reference
    from edgevqa.checkpoints.importers.words import placeholder_answers, placeholder_vocabulary
    from edgevqa.checkpoints.native import save_checkpoint
    from edgevqa.models.initialisation import initialise
    from edgevqa.models.mcan import MCAN
    from edgevqa.pipeline import bench, export, this_machine
    from edgevqa.runtimes.runner import probe

    config, image = BST.config, BST.config.image
    assert isinstance(image, RegionInput)
    folder = work / "mcan-bst-seeded"
    if not (folder / "config.json").exists():
        model = MCAN(config)
        initialise(model, 0)
        made = Checkpoint(
            name="mcan-bst-seeded",
            folder=folder,
            config=config,
            slimming=BST.slimming,
            preprocessing={"question": {"rule": "openvqa", "length": config.question_length}},
            vocabulary=placeholder_vocabulary(config.vocabulary_size),
            answers=placeholder_answers(config.answer_count),
        )
        save_checkpoint(made, dict(model.state_dict()), random_reference(config), "# Seeded weights, untrained\n")
    plan = bst_plan(config, BST.slimming, *SMALLEST)
    judged = export(load_checkpoint(folder), [plan], precisions=("fp32", "int8"), out=work / "artifacts")
    artifacts = list({one.artifact.folder: one.artifact for one in judged}.values())
    target = this_machine()
    records = bench(artifacts, target=target, protocol=protocol, results=work / "results")
    rows = [
        [
            *(record.runtime, record.runtime_version or "", record.precision, f"{record.file_mb:.1f}"),
            *("" if value is None else f"{value:.2f}" for value in (record.min_ms, record.p50_ms, record.p90_ms)),
            *(str(record.n), str(record.threads), record.basis, record.gate),
            _under(record),
        ]
        for record in records
    ]
    heading = ["runtime", "version", "precision", "MB", "min ms", "p50 ms", "p90 ms", "n", "threads", "basis", "gate"]
    return [
        f"device: {probe()['cpu_model']} ({target.name}); scope: {records[0].scope}; protocol {protocol}",
        *table([*heading, f"p90 < {CLAIM_MS:g}"], rows),
        *dict.fromkeys(f"validity in {record.runtime} {record.precision}: {record.validity}" for record in records),
    ]


def _under(record: Record) -> str:
    """Whether a row is under the claim; an invalid one says nothing."""
    if record.p90_ms is None or record.validity.startswith("invalid"):
        return "not measured well enough"
    return "yes" if record.p90_ms < CLAIM_MS else "no"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="also time the smallest submodel; what is made for that lies here")
    parser.add_argument("--protocol", default="quick", help="how long to time")
    arguments = parser.parse_args()
    print("MCAN_BST for VQA-v2: 14 words, 100 regions of 2048 features, 20573 words, 3129 answers; FLOPs = 2 x MACs")
    print("'authors': counted, and checked against the authors' module; the paper's own tables could not be read\n")
    print("\n".join(grid_table()))
    print("\nThe abstract's claims\n")
    print("\n".join(claims()))
    print(
        f"\nLatency: the paper says under {CLAIM_MS:g} ms for the smallest submodel, on a mobile device without a name"
    )
    if arguments.work is None:
        print("not measured here; --work FOLDER does")
    else:
        print("not a mobile device here, so this neither confirms nor refutes it; weights are seeded, hence unscored\n")
        print("\n".join(latency(arguments.work, arguments.protocol)))


if __name__ == "__main__":
    main()
