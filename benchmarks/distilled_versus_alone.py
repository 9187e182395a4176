"""Are slimmed submodels at least as good as the same submodels trained alone?

Trains submodels of the bundled `scenes` model by themselves, on the answers, with the teacher's recipe, and scores them
on the full test split beside the slimmed ones. Steps can be counted in three ways:

- updates: as many steps as self-distillation drew this submodel in (of K = 5 each step, smallest and largest always);
- distillation: as many steps as self-distillation had in all;
- whole: as many steps as teacher and self-distillation had together, for this one submodel.

    python benchmarks/distilled_versus_alone.py --work runs/alone

An interrupted run goes on where it was. Writes benchmarks/results/distilled_versus_alone.json and .md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from edgevqa.training.stages import OnAnswers, SelfDistillation, copy_weights

RESULTS = Path(__file__).parent / "results"
SUBMODELS = ("w0.25-d1", "w0.25-d2", "w0.5-d2")
BUDGETS = ("updates", "distillation", "whole")


def main() -> None:
    """Train the submodels that are not trained yet, and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the states of the runs")
    parser.add_argument("--submodel", action="append", choices=SUBMODELS, help="only this one; no table is written")
    parser.add_argument("--budget", action="append", choices=BUDGETS, help="only this one; no table is written")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint, dataset, chosen = load_checkpoint("scenes"), load_dataset("scenes"), preset("scenes")
    questions, test = dataset.split("train"), dataset.split("test")
    config = chosen.config(dataset)
    plans = {plan.name: plan for plan in grid(config, checkpoint.slimming)}
    distillation = SelfDistillation(MCAN(config), MCAN(config), list(plans.values()), chosen.student, 0)
    drawn = Counter(place for step in range(chosen.student.steps) for place in distillation.chosen(step))
    rows: list[dict[str, Any]] = []
    for name in arguments.submodel or SUBMODELS:
        row: dict[str, Any] = {"submodel": name, "slimmed_percent": checkpoint.scores[name]}
        steps = {
            "updates": drawn[list(plans).index(name)],
            "distillation": chosen.student.steps,
            "whole": chosen.teacher.steps + chosen.student.steps,
        }
        for budget in arguments.budget or BUDGETS:
            recipe = replace(chosen.teacher, steps=steps[budget])
            model = MCAN(slice_config(config, plans[name]))
            initialise(model, recipe.seed)
            weights = train(
                OnAnswers(model, recipe, questions.grounding),
                recipe,
                questions,
                arguments.work,
                name=f"{name}-{budget}",
                milestones=Milestones(evaluate=recipe.steps),
                tell=print,
            )
            copy_weights(weights, model)
            alone = accuracy(predict(model, test).argmax(1), test.answers)
            row[budget] = {
                "steps": recipe.steps,
                "alone_percent": round(alone.percent, 3),
                "standard_error": round(alone.standard_error, 3),
            }
        rows.append(row)
        print(row)
    if arguments.submodel or arguments.budget:
        return
    content = {"model_sha256": checkpoint.sha256, "questions": len(test), "seed": chosen.teacher.seed, "rows": rows}
    write_json(RESULTS / "distilled_versus_alone.json", content)
    lines = [
        f"Right answers in percent on the {len(test)} test questions of `scenes` (standard error in brackets), "
        f"seed {chosen.teacher.seed}. Slimmed: one set of weights for all ten submodels, {chosen.teacher.steps} steps "
        f"of the teacher and {chosen.student.steps} of self-distillation. Alone: one submodel, its own weights.",
        "",
        "| submodel | slimmed | alone, as many updates | alone, steps of the distillation | alone, steps of both |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = [
            f"{row[budget]['alone_percent']:.2f} ({row[budget]['standard_error']:.2f}) in {row[budget]['steps']:,}"
            for budget in BUDGETS
        ]
        lines.append(f"| {row['submodel']} | {row['slimmed_percent']:.2f} | {' | '.join(cells)} |")
    write_text(RESULTS / "distilled_versus_alone.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
