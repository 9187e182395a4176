"""What a model that sees no picture would score: the figures that every accuracy must be read against."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from edgevqa.data.dataset import SPLITS, Dataset, Split
from edgevqa.data.score import by_group


@dataclass(frozen=True)
class Floors:
    """Scores in percent, of the split's kind, without looking at a picture.

    Attributes:
        majority: always the most frequent answer of the training split.
        question_only: for each question string its most frequent answer in the training split, or its
            family's for a string that training lacks.
        by_type: `question_only` for each question family.
    """

    majority: float
    question_only: float
    by_type: dict[str, float]


def floors(dataset: Dataset, split: Split) -> Floors:
    """The floors of a split of `dataset`; makes the training split when it is not there yet."""
    return floors_between(dataset.split("train"), split)


def floors_between(train: Split, split: Split) -> Floors:
    """The floors of `split` for a guesser that knows the questions and answers of `train`."""
    by_text: dict[str, Counter[int]] = defaultdict(Counter)
    by_family: dict[str, Counter[int]] = defaultdict(Counter)
    for text, family, answer in zip(train.texts, train.types, train.answers.tolist(), strict=True):
        by_text[text][answer] += 1
        by_family[family][answer] += 1
    overall: int = Counter(train.answers.tolist()).most_common(1)[0][0]
    guess_text = {text: _most_frequent(counts) for text, counts in by_text.items()}
    guess_family = {family: _most_frequent(counts) for family, counts in by_family.items()}

    guesses = [
        guess_text[text] if text in guess_text else guess_family.get(family, overall)
        for text, family in zip(split.texts, split.types, strict=True)
    ]
    marks = split.key.marks(guesses)
    total = max(len(split), 1)
    return Floors(
        majority=100.0 * float(split.key.marks([overall] * len(split)).sum()) / total,
        question_only=100.0 * float(marks.sum()) / total,
        by_type=by_group(marks, split.types),
    )


def _most_frequent(counts: Counter[int]) -> int:
    """The most frequent answer, the lowest number among equals."""
    return min(counts, key=lambda answer: (-counts[answer], answer))


def full_card(dataset: Dataset) -> dict[str, Any]:
    """The dataset's card with the questions, families and answers of each split, and the floors."""
    card = dict(dataset.card)
    card["splits"] = {}
    for name in SPLITS:
        split = dataset.split(name)
        answers = Counter(split.answers.tolist())
        card["splits"][name] = {
            "questions": len(split),
            "pictures": split.picture_count,
            "families": dict(sorted(Counter(split.types).items())),
            "answers": {answer: answers[number] for number, answer in enumerate(dataset.answers)},
        }
    card["floors"] = asdict(floors(dataset, dataset.split("test")))
    return card
