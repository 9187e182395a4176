"""The kinds of published checkpoints, and the way from a file of one to a checkpoint folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgevqa.checkpoints.importers import clip_vil, mcan, mcan_bst, uniter
from edgevqa.checkpoints.importers.layout import Imported, Layout, Settings
from edgevqa.checkpoints.importers.reference import random_reference
from edgevqa.checkpoints.importers.state import State, read_state
from edgevqa.checkpoints.importers.words import (
    placeholder_answers,
    placeholder_vocabulary,
    read_answers,
    read_vocabulary,
)
from edgevqa.checkpoints.make import reference_questions
from edgevqa.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from edgevqa.data.own import Lists, with_lists
from edgevqa.data.preprocessing import MISSING
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import GridInput, RegionInput, TrunkInput
from edgevqa.models.families import ModelConfig
from edgevqa.progress import Progress, Silent
from edgevqa.slimming.counting import count
from edgevqa.slimming.grid import grid
from edgevqa.slimming.rules import slice_config
from edgevqa.storage import read_json, sha256_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CLIP_PIXELS = {"mean": [0.48145466, 0.4578275, 0.40821073], "deviation": [0.26862954, 0.26130258, 0.27577711]}
"""Of red, green and blue in 0..1, as CLIP was trained (Radford et al. 2021, the authors' code)."""
IMPORTED = "imported"
"""The entry of a checkpoint's `training` that says where it was imported from."""


@dataclass(frozen=True)
class Kind:
    """A kind of published checkpoints.

    Args:
        summary: whose files these are.
        layouts: how they call their weights; a file of this kind has the mark of one of them.
        read: from their weights to ours.
    """

    summary: str
    layouts: tuple[Layout, ...]
    read: Callable[[State, Settings], Imported]

    def recognises(self, state: State) -> bool:
        """Whether a file seems to be of this kind."""
        return any(layout.key(layout.mark) in state for layout in self.layouts)


KINDS: Mapping[str, Kind] = {
    "mcan-bst": Kind("MILVLG/bst: MCAN_BST for VQA-v2 or GQA", (mcan_bst.LAYOUT,), mcan_bst.read),
    "mcan": Kind("MILVLG/mcan-vqa and MILVLG/openvqa: MCAN", tuple(mcan.LAYOUTS.values()), mcan.read),
    "uniter": Kind("ChenRocks/UNITER: UNITER for VQA", (uniter.LAYOUT,), uniter.read),
    "clip-vil": Kind("clip-vil/CLIP-ViL: CLIP-ViL-Pretrain for VQA", (clip_vil.LAYOUT,), clip_vil.read),
}
"""By the name that `edgevqa import` takes."""


def get_kind(name: str) -> Kind:
    """The kind of a name; raises UsageError that lists all."""
    if name not in KINDS:
        raise UsageError(f"there is no kind of checkpoint {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def import_checkpoint(
    kind: str,
    path: Path,
    out: Path,
    *,
    settings: Settings | None = None,
    vocabulary: Path | None = None,
    answers: Path | None = None,
    data: Path | None = None,
    skip_bad: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Checkpoint:
    """Turn a published file of weights into a checkpoint folder.

    Args:
        kind: one of `KINDS`.
        path: the file; it is read with `weights_only=True`, so that no code in it can run.
        out: the folder; one that an import has made before is replaced.
        settings: what the file does not say.
        vocabulary: the project's word list; without it the model can be exported but not asked.
        answers: the project's answer list, likewise.
        data: a folder of questions and pictures, see `edgevqa.data.folder`: the model is scored on its test questions,
            and some of them become the reference questions.
        skip_bad: whether entries of it that cannot be used are told and left out.
        command: the command line, for the card.
        progress: told about the steps.

    Raises:
        UsageError: no such kind, settings that do not fit the sizes, or a folder of something else in the way.
        InputError: the file or a list is damaged, of another kind or of another size, or holds more than weights.
        MissingExtra: torch is not installed.
        EnvironmentFailure: the folder cannot be written.
    """
    chosen, progress = get_kind(kind), progress or Silent()
    _check_out(out)
    progress.start(f"importing {path.name}", 3)
    try:
        state = read_state(path)
        progress.step("read the weights")
        if not chosen.recognises(state):
            others = [name for name, other in KINDS.items() if other.recognises(state)]
            if others:
                raise InputError(f"{path} has the layout of {others[0]}, not of {kind}: edgevqa import {others[0]} ...")
        config, slimming, weights, question, one_by_one = chosen.read(state, settings or Settings())
        missing = [name for name, given in (("vocabulary", vocabulary), ("answers", answers)) if given is None]
        checkpoint = Checkpoint(
            name=out.resolve().name,
            folder=out,
            config=config,
            slimming=slimming,
            preprocessing=_preprocessing(config, question, one_by_one, missing),
            vocabulary=(
                placeholder_vocabulary(config.vocabulary_size, question)
                if vocabulary is None
                else read_vocabulary(vocabulary, config.vocabulary_size, question)
            ),
            answers=(
                placeholder_answers(config.answer_count)
                if answers is None
                else read_answers(answers, config.answer_count)
            ),
            trained=True,
            training={
                IMPORTED: {"kind": kind, "file": path.name, "sha256": sha256_file(path)},
                "command": command,
            },
        )
        progress.step("checked")
        reference = random_reference(config)
        if data is not None:
            if missing:
                raise UsageError(f"--data is read with the model's own lists; give --{' and --'.join(missing)}, too")
            lists = Lists(checkpoint.vocabulary, checkpoint.answers, dict(checkpoint.preprocessing))
            dataset = with_lists(data, lists, skip_bad=skip_bad, progress=progress)
            reference = reference_questions(dataset.split("test", progress), len(checkpoint.answers))
            checkpoint = replace(checkpoint, dataset=dataset.described)
        save_checkpoint(checkpoint, weights, reference, _card(checkpoint, chosen, missing))
        progress.step("written")
    finally:
        progress.finish()
    return load_checkpoint(out)


def _check_out(out: Path) -> None:
    """Raise UsageError unless the place is free, or holds what an import made, and its name can be a model's."""
    if not NAME.fullmatch(out.resolve().name):
        raise UsageError(f"{out} does not end in a name of letters, digits, '.', '_' and '-'; choose another --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        replaceable = IMPORTED in read_json(out / "config.json")["training"]
    except (InputError, KeyError, TypeError):
        replaceable = False
    if not replaceable:
        raise UsageError(f"{out} is there already and was not made by an import; choose another --out")


def _preprocessing(
    config: ModelConfig, question: Mapping[str, Any], one_by_one: bool, missing: list[str]
) -> dict[str, Any]:
    """How questions, and features or pictures, become inputs, see `edgevqa.data.preprocessing`."""
    image = config.image
    picture: dict[str, Any]
    if isinstance(image, RegionInput):
        picture = {"kind": "features", "regions": image.count, "features": image.feature_size, "boxes": image.box_size}
        if isinstance(image, GridInput):
            picture["grid"] = [image.rows, image.columns]
    elif isinstance(image, TrunkInput):
        picture = {"kind": "padded-pixels", "height": image.height, "width": image.width, "normalisation": CLIP_PIXELS}
    else:
        raise InputError("only models that take regions, or pixels through CLIP's trunk, are imported")
    described: dict[str, Any] = {"question": dict(question), "picture": picture}
    if one_by_one:
        described["probabilities"] = "sigmoid"
    return {**described, MISSING: missing} if missing else described


def _card(checkpoint: Checkpoint, kind: Kind, missing: list[str]) -> str:
    """The text of card.md."""
    source, config = checkpoint.training[IMPORTED], checkpoint.config
    lines = [
        f"# {checkpoint.name}",
        "",
        f"Imported from `{source['file']}` (sha256 {source['sha256']}), {kind.summary}.",
        "",
        f"{config.vocabulary_size} words, {config.answer_count} answers, {config.encoder[0].heads} heads of "
        f"{config.head_size}, {config.question_length} tokens, {config.image.tokens} image tokens.",
        "",
        (
            "The reference questions are seeded random inputs without right answers, so that exported files are "
            "compared with PyTorch but not scored."
            if checkpoint.dataset is None
            else f"The reference questions are of the dataset `{checkpoint.dataset['name']}`, on whose test questions "
            "the model and its files are scored."
        ),
    ]
    if config.family != "mcan" and len(grid(config, checkpoint.slimming)) > 1:
        lines += [
            "",
            "The weights were trained for the full model alone: the smaller submodels are exact slices of it, but they "
            "answer well only after self-distillation.",
        ]
    if missing:
        lines += ["", f"Imported without its {' and '.join(missing)}: it can be exported and measured, but not asked."]
    lines += ["", "| submodel | parameters | MMACs |", "| --- | ---: | ---: |"]
    for plan in grid(config, checkpoint.slimming):
        counts = count(slice_config(config, plan))
        lines.append(f"| {plan.name} | {counts.parameters:,} | {counts.macs / 1e6:.2f} |")
    return "\n".join(lines) + "\n"
