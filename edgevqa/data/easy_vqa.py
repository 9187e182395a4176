"""easy-VQA 1.0 (Victor Zhou, MIT): 64 x 64 pictures of one shape each, from the PyPI package `easy-vqa`.

Its test split is kept; the validation split is the last 400 pictures of its training split.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from PIL import Image

from edgevqa.data.dataset import Dataset, Split
from edgevqa.data.text import Vocabulary, tokenise
from edgevqa.errors import MissingExtra
from edgevqa.progress import Progress

VERSION = 1
SIDE = 64
QUESTION_LENGTH = 9
VALIDATION_PICTURES = 400
NORMALISATION = {"mean": 0.9, "deviation": 0.2}

FAMILIES = ("yes-no", "yes-no-negated", "what-shape", "what-colour")


def easy_vqa_dataset() -> Dataset:
    """The dataset "easy-vqa"; raises MissingExtra when the package is not installed."""
    package = _package()
    train_texts, train_answers, train_ids = package.get_train_questions()
    vocabulary = Vocabulary.build(train_texts)
    answers = tuple(sorted(set(train_answers)))  # the package's own list has no fixed order
    pictures = sorted(set(train_ids))
    test_pictures = len(set(package.get_test_questions()[2]))
    return Dataset(
        name="easy-vqa",
        version=VERSION,
        seed=0,
        vocabulary=vocabulary,
        answers=answers,
        preprocessing={
            "question": {"rule": "openvqa", "length": QUESTION_LENGTH, "synonyms": SYNONYMS},
            "picture": {"kind": "pixels", "side": SIDE, "normalisation": NORMALISATION},
        },
        card={
            "source": "easy-VQA 1.0 (PyPI easy-vqa), Victor Zhou 2019, MIT licence",
            "pictures": {
                "train": len(pictures) - VALIDATION_PICTURES,
                "validation": VALIDATION_PICTURES,
                "test": test_pictures,
            },
            "validation": f"the last {VALIDATION_PICTURES} pictures of the published training split",
            "families": list(FAMILIES),
            "answers": list(answers),
        },
        question_length=QUESTION_LENGTH,
        make_split=lambda split, progress: _make_split(split, vocabulary, answers, progress),
    )


SYNONYMS = {"colour": "color", "grey": "gray", "picture": "image", "square": "rectangle", "an": "a"}


def family(question: str) -> str:
    """The family of a question, by its words."""
    words = tokenise(question)
    if words[0] == "what":
        return "what-colour" if "color" in words else "what-shape"
    return "yes-no-negated" if {"no", "not"} & set(words) else "yes-no"


def _package() -> Any:
    try:
        return importlib.import_module("easy_vqa")
    except ImportError:
        raise MissingExtra("easy_vqa", "train") from None


def _make_split(name: str, vocabulary: Vocabulary, answers: tuple[str, ...], progress: Progress) -> Split:
    """Read the package's questions and pictures of a split; each picture is stored once."""
    package = _package()
    published = "test" if name == "test" else "train"
    texts, labels, ids = getattr(package, f"get_{published}_questions")()
    paths = getattr(package, f"get_{published}_image_paths")()
    pictures = sorted(set(ids))
    if name == "train":
        pictures = pictures[:-VALIDATION_PICTURES]
    elif name == "validation":
        pictures = pictures[-VALIDATION_PICTURES:]

    progress.start(f"reading easy-VQA ({name})", len(pictures))
    images = np.empty((len(pictures), 3, SIDE, SIDE), np.uint8)
    for row, picture in enumerate(pictures):
        with Image.open(paths[picture]) as opened:
            images[row] = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
        progress.step("pictures")
    progress.finish()

    place = {picture: row for row, picture in enumerate(pictures)}
    number = {answer: row for row, answer in enumerate(answers)}
    kept = [row for row, picture in enumerate(ids) if picture in place]
    return Split(
        name=f"easy-vqa/{name}",
        texts=tuple(texts[row] for row in kept),
        tokens=np.stack([vocabulary.encode(texts[row], QUESTION_LENGTH).tokens for row in kept]),
        answers=np.array([number[labels[row]] for row in kept], np.int64),
        types=tuple(family(texts[row]) for row in kept),
        image_index=np.array([place[ids[row]] for row in kept], np.int64),
        images={"image": images},
        normalisation=NORMALISATION,
    )
