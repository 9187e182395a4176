"""A full-size MCAN_BST with trained weights: every file of it can be scored, not only its latency measured.

    python benchmarks/paper_size_scenes.py --work /tmp/paper-size

makes, in `--work` and resumable at every step:

1. scenes as people have data: question files in GQA's format and one .npz of region features a picture. A region's 28
   features and its 5 box values stand at the beginning of 2048, the rest is zero, and a model has room for 100 regions.
2. the model of the paper for VQA-v2 (hidden 512, 8 heads of 64, 6 + 6 layers, FFN 2048, LSTM 512 over words of 300,
   the authors' LayerNorm) over the words and answers of scenes. Training it from nothing as `edgevqa train scenes` does
   would take about a day on a core. It starts from the bundled model instead: every channel becomes eight equal ones,
   which computes the same function (Net2WiderNet, Chen et al. 2016, arXiv 1511.05641), in every slice, too, since a
   prefix of copies is the copy of a prefix. Noise then makes the copies differ and undoes part of what was learnt.
3. `--teacher-steps` on the answers and `--student-steps` of self-distillation, with the paper's rate and batch.

Then: edgevqa export --model WORK/paper-size-scenes ..., see benchmarks/results/paper_size_scenes.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.checkpoints.make import Start, make_checkpoint
from edgevqa.checkpoints.presets import Preset
from edgevqa.data.dataset import Split
from edgevqa.data.own import own_dataset
from edgevqa.data.scenes import generate_split
from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import MCAN_BST, grid
from edgevqa.slimming.slicer import slice_model
from edgevqa.storage import new_folder
from edgevqa.training.evaluation import predict
from edgevqa.training.loop import Milestones
from edgevqa.training.recipe import Recipe

if TYPE_CHECKING:
    from edgevqa.models.families import Network

SCENES = {"train": 5000, "val": 40, "test": 125}
SPLITS = {"train": "train", "val": "validation", "test": "test"}
REGIONS, FEATURES = 100, 2048
NAME = "paper-size-scenes"


def write_data(folder: Path, bundled: Checkpoint) -> None:
    """Scenes as a folder of questions and features, with the bundled model's word and answer lists beside them."""
    if folder.is_dir():
        return
    with new_folder(folder) as made:
        (made / "features").mkdir()
        for word, name in SPLITS.items():
            split = generate_split(name, SCENES[word])
            assert isinstance(split.images, Mapping)
            for scene in range(split.picture_count):
                np.savez_compressed(made / "features" / f"{word}{scene}.npz", x=_features(split.images, scene))
            questions = _questions(split, word, bundled.answers)
            (made / f"{word}_balanced_questions.json").write_text(json.dumps(questions), encoding="utf-8")
        (made / "words.list").write_text(json.dumps(bundled.vocabulary.words), encoding="utf-8")
        (made / "answers.list").write_text(json.dumps(bundled.answers), encoding="utf-8")


def _features(images: Mapping[str, np.ndarray], scene: int) -> np.ndarray:
    """The regions of a scene, float32 (n, 2048)."""
    count = int(images["region_count"][scene])
    found = np.concatenate([images["regions"][scene, :count], images["boxes"][scene, :count]], axis=1)
    return np.pad(found, ((0, 0), (0, FEATURES - found.shape[1])))


def _questions(split: Split, word: str, answers: tuple[str, ...]) -> dict[str, dict[str, object]]:
    return {
        f"{word}-{number}": {
            "question": text,
            "imageId": f"{word}{split.image_index[number]}",
            "answer": answers[split.answers[number]],
            "types": {"structural": split.types[number]},
        }
        for number, text in enumerate(split.texts)
    }


def widen(small: MCAN, large: MCAN) -> None:
    """Give a model the function of a smaller one: channels are repeated, and what reads them is divided by as many.

    What is wider by no whole number, word embeddings and region features, is filled up with zeros.
    """
    source = dict(small.named_parameters())
    grown = large.config.head_size / small.config.head_size
    with torch.no_grad():
        for name, target in large.named_parameters():
            value = source[name].clone()
            for axis in range(value.dim()):
                times, rest = divmod(target.shape[axis], value.shape[axis])
                if rest:
                    wider = torch.zeros_like(target) if name == "embedding.weight" else target.clone()
                    value = value.repeat_interleave(target.shape[0] // value.shape[0], 0)
                    wider[:, : value.shape[1]] = value
                    value = wider
                elif times > 1:
                    value = value.repeat_interleave(times, axis) / (times if axis == 1 else 1)
            if ".query." in name:  # scores are sums over more channels, divided by the root of their number
                value = value / math.sqrt(grown)
            target.copy_(value)


def disturb(model: MCAN, noise: float, seed: int) -> None:
    """Add normal noise to every matrix, `noise` times the deviation of its values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(noise * parameter.std() * torch.randn(parameter.shape, generator=generator))


def paper_preset(teacher_steps: int, student_steps: int) -> Preset:
    """The paper's sizes and rate; a step's batch and the decay are this tool's."""
    teacher = Recipe(
        steps=teacher_steps, batch=64, learning_rate=1e-4, warmup=teacher_steps // 10, mixed_precision=True
    )  # fmt: skip
    return Preset(
        image=RegionInput(count=REGIONS, feature_size=FEATURES),
        hidden=512,
        word_size=300,
        lstm_size=512,
        dropout=0.0,
        teacher=teacher,
        student=replace(teacher, steps=student_steps, warmup=student_steps // 10),
        sizes={"norm": "unbiased"},
    )


def scores(model: MCAN, split: Split) -> dict[str, float]:
    """Percent of right answers of every submodel of the grid."""
    found: dict[str, float] = {}
    for plan in grid(model.config, MCAN_BST):
        right = predict(slice_model(model, plan), split, batch=100).argmax(1) == split.answers
        found[plan.name] = round(100 * float(right.mean()), 2)
    return found


def padding_changes(model: MCAN, split: Split) -> float:
    """The largest difference of logits between all 100 regions and those that are there, over the logits' range."""
    chosen = np.arange(8)
    inputs = [torch.from_numpy(value) for value in split.model_inputs(chosen).values()]
    with torch.inference_mode():
        whole = model.eval()(*inputs).numpy()
    short = predict(model, split, indices=chosen)
    return float(np.abs(whole - short).max() / np.ptp(whole))


def tensors(model: MCAN) -> dict[str, Tensor]:
    """The weights."""
    return {name: value.detach() for name, value in model.named_parameters()}


def main() -> None:
    """Make the checkpoint, and tell what it scores before and after training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where everything goes")
    parser.add_argument("--teacher-steps", type=int, default=300)
    parser.add_argument("--student-steps", type=int, default=100)
    parser.add_argument("--noise", type=float, default=1.0, help="of a matrix's deviation")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--probe", action="store_true", help="only tell what noise does to the score")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundled = load_checkpoint("scenes")
    folder = options.work / "data"
    write_data(folder, bundled)
    dataset = own_dataset(
        folder, regions=REGIONS, answers=folder / "answers.list", vocabulary=folder / "words.list"
    )  # fmt: skip
    preset = paper_preset(options.teacher_steps, options.student_steps)
    small = bundled.full_model()
    assert isinstance(small, MCAN)

    def give(model: Network) -> None:
        assert isinstance(model, MCAN)
        widen(small, model)
        disturb(model, options.noise, 0)

    validation = dataset.split("validation")
    if options.probe:
        config = preset.config(dataset)
        assert isinstance(config, MCANConfig)
        model = MCAN(config)
        widen(small, model)
        print(f"padding to {REGIONS} regions changes logits by {padding_changes(model, validation):.1e} of their range")
        for noise in (0.0, 0.5, 1.0, 2.0):
            widen(small, model)
            disturb(model, noise, 0)
            print(f"noise {noise:g}: {scores(model, validation)}", flush=True)
        return
    what = f"the bundled model widened eight times (Net2WiderNet) with noise of {options.noise:g} deviations"
    made = make_checkpoint(
        dataset,
        preset,
        options.work / NAME,
        start=Start(what, give),
        milestones=Milestones(save=50, tell=10, evaluate=200),
        command=" ".join(["python", *sys.argv]),
        tell=lambda line: print(line, flush=True),
    )
    assert made is not None
    print(made.folder, made.scores, made.floors)


if __name__ == "__main__":
    main()
