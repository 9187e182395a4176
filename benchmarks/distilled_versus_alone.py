"""Are slimmed submodels at least as good as the same submodels trained alone?

Trains submodels of the bundled `scenes` model by themselves, on the answers, with the teacher's recipe and as many
steps as teacher and self-distillation had together, and scores them on the full test split beside the slimmed ones.

    python benchmarks/distilled_versus_alone.py --work runs/alone

An interrupted run goes on where it was. Writes benchmarks/results/distilled_versus_alone.json and .md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from edgevqa.checkpoints import load_checkpoint
from edgevqa.checkpoints.presets import preset
from edgevqa.data.dataset import load_dataset
from edgevqa.data.score import accuracy
from edgevqa.models.initialisation import initialise
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import grid
from edgevqa.slimming.rules import slice_config
from edgevqa.storage import write_json, write_text
from edgevqa.training.evaluation import predict
from edgevqa.training.loop import Milestones, train
from edgevqa.training.stages import OnAnswers, copy_weights

RESULTS = Path(__file__).parent / "results"
SUBMODELS = ("w0.25-d1", "w0.25-d2", "w0.5-d2")


def main() -> None:
    """Train the submodels that are not trained yet, and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the states of the runs")
    parser.add_argument("--submodel", action="append", choices=SUBMODELS, help="only this one; no table is written")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint, dataset, chosen = load_checkpoint("scenes"), load_dataset("scenes"), preset("scenes")
    steps = chosen.teacher.steps + chosen.student.steps
    recipe = replace(chosen.teacher, steps=steps)
    questions, test = dataset.split("train"), dataset.split("test")
    plans = {plan.name: plan for plan in grid(chosen.config(dataset), checkpoint.slimming)}
    rows = []
    for name in arguments.submodel or SUBMODELS:
        model = MCAN(slice_config(chosen.config(dataset), plans[name]))
        initialise(model, recipe.seed)
        weights = train(
            OnAnswers(model, recipe, questions.grounding),
            recipe,
            questions,
            arguments.work,
            name=name,
            milestones=Milestones(evaluate=steps),
            tell=print,
        )
        copy_weights(weights, model)
        alone = accuracy(predict(model, test).argmax(1), test.answers)
        rows.append(
            {
                "submodel": name,
                "steps": steps,
                "questions": alone.count,
                "alone_percent": round(alone.percent, 3),
                "slimmed_percent": checkpoint.scores[name],
                "standard_error": round(alone.standard_error, 3),
            }
        )
        print(rows[-1])
    if arguments.submodel:
        return
    write_json(RESULTS / "distilled_versus_alone.json", {"seed": recipe.seed, "rows": rows})
    lines = [
        f"Right answers in percent on the {len(test)} test questions of `scenes`; {steps} steps, seed {recipe.seed}.",
        "",
        "| submodel | trained alone | slimmed | difference | standard error |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        difference = float(row["slimmed_percent"]) - float(row["alone_percent"])
        lines.append(
            f"| {row['submodel']} | {row['alone_percent']:.2f} | {row['slimmed_percent']:.2f} | {difference:+.2f} "
            f"| {row['standard_error']:.2f} |"
        )
    write_text(RESULTS / "distilled_versus_alone.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
