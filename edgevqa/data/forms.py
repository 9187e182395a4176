"""How the models of a family take questions and pictures, and data brought into that form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgevqa.data.dataset import Dataset, Split, reworded
from edgevqa.data.features import UNITER_BOX_NUMBERS, as_boxes
from edgevqa.data.questions import CLEVR, GQA, VQA
from edgevqa.data.text import Vocabulary, tokenise
from edgevqa.data.word_pieces import RULE, WordPieces, Words
from edgevqa.errors import UsageError

QUESTION_LENGTHS: Mapping[str, int] = {VQA: 14, GQA: 29, CLEVR: 45}
"""The most tokens of a question, as the published models have them; shorter where all questions are."""
PIECES_MORE = 6
"""So many more where a question is word pieces between two marks, which makes CLIP-ViL's 20 of VQA-v2's 14."""


@dataclass(frozen=True)
class Form:
    """How a family takes questions and pictures.

    Args:
        family: its name.
        pictures: the kinds of pictures, see `edgevqa.data.preprocessing`.
        word_pieces: whether questions are word pieces; else they are words by openvqa's rule.
        boxes: numbers of a region's box, 0 for no boxes; None for those that the data has.
        grid: whether regions are a grid, whose rows and columns the model knows.
    """

    family: str
    pictures: tuple[str, ...]
    word_pieces: bool = False
    boxes: int | None = None
    grid: bool = False

    def question(self, words: Words, texts: Sequence[str], most: int) -> dict[str, Any]:
        """How questions become tokens: as many as the longest of some questions needs, but at most `most`."""
        if isinstance(words, WordPieces):
            longest = max(map(words.length_of, texts))
            return {"rule": RULE, "length": min(longest, most + PIECES_MORE), "lower_case": words.lower_case}
        longest = max(len(tokenise(text)) for text in texts)
        return {"rule": "openvqa", "length": max(1, min(longest, most))}

    def build_words(self, texts: Sequence[str]) -> Words:
        """The words of some questions."""
        return WordPieces.build(texts) if self.word_pieces else Vocabulary.build(texts)

    def picture(self, described: Mapping[str, Any], source: str, grid: tuple[int, int] | None = None) -> dict[str, Any]:
        """A dataset's description of its pictures as this family takes them.

        Args:
            described: the entry `picture` of the preprocessing.
            source: what messages call the data.
            grid: rows and columns where they are given; by default a square.

        Raises:
            UsageError: the family does not take such pictures, needs boxes that they lack, or they are no such grid.
        """
        made = dict(described)
        if made["kind"] not in self.pictures:
            raise UsageError(
                f"{self.family} takes {' or '.join(self.pictures)}, and {source} gives {made['kind']}; choose another "
                "--family, or other pictures with --data and --picture"
            )
        if "boxes" in made and self.boxes is not None:
            if self.boxes and not made["boxes"]:
                raise UsageError(f"{self.family} needs the boxes of regions, and {source} has none")
            made["boxes"] = self.boxes
        if self.grid and "regions" in made:
            count = made["regions"]
            rows, columns = grid or (math.isqrt(count),) * 2
            if rows * columns != count:
                raise UsageError(
                    f"{source} has {count} features a picture, which are no {rows} x {columns}; --grid says how many "
                    "rows and columns they are"
                )
            made["grid"] = [rows, columns]
        return made


_REGIONS = ("plain-regions", "features", "grid")
FORMS: Mapping[str, Form] = {
    "mcan": Form("mcan", (*_REGIONS, "pixels")),
    "uniter": Form("uniter", _REGIONS, word_pieces=True, boxes=UNITER_BOX_NUMBERS),
    "clip-vil": Form("clip-vil", ("pixels", "grid", "features"), word_pieces=True, boxes=0, grid=True),
}
"""By family."""


def taken(split: Split, own: Words, vocabulary: Words, preprocessing: Mapping[str, Any]) -> Split:
    """The questions of a dataset that comes with edgevqa as a model takes them.

    Args:
        split: of the dataset.
        own: the dataset's words.
        vocabulary: the model's.
        preprocessing: the model's.
    """
    split = reworded(split, own, vocabulary, preprocessing["question"]["length"])
    boxes = preprocessing["picture"].get("boxes")
    if not isinstance(split.images, Mapping) or "boxes" not in split.images or boxes is None:
        return split
    images: dict[str, np.ndarray] = dict(split.images)
    there = images.pop("boxes")
    if boxes == there.shape[-1]:
        return split
    return replace(split, images={**images, "boxes": as_boxes(there, boxes)} if boxes else images)


def in_form(dataset: Dataset, form: Form, words: Words | None = None) -> Dataset:
    """A dataset that comes with edgevqa, as a family takes it.

    Args:
        dataset: the dataset.
        form: the family's.
        words: word pieces to use; by default they are built from the training questions.

    Raises UsageError when the family does not take its pictures.
    """
    picture = form.picture(dataset.preprocessing["picture"], dataset.name)
    if not form.word_pieces:
        return dataset
    texts = sorted(set(dataset.split("train").texts))
    words = words or form.build_words(texts)
    question = form.question(words, texts, dataset.question_length)
    synonyms = dataset.preprocessing["question"].get("synonyms")
    preprocessing = {
        **dataset.preprocessing,
        "question": {**question, "synonyms": synonyms} if synonyms else question,
        "picture": picture,
    }
    return replace(
        dataset,
        vocabulary=words,
        preprocessing=preprocessing,
        question_length=question["length"],
        view=lambda split: taken(split, dataset.vocabulary, words, preprocessing),
    )
