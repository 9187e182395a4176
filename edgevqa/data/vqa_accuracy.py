"""The official accuracy of VQA (Antol et al. 2015; GT-Vision-Lab/VQA, vqaEval.py), its oddities included.

An answer is worth a third for each of the people who gave it, at most 1, on average over leaving each of ten out.
People's answers and the model's are normalised first, but only where the ten are not all the same text: where they
are, "2" is wrong for ten times "two".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgevqa.data.score import by_group
from edgevqa.errors import InputError

PEOPLE = 10
ENOUGH = 3
"""So many people must agree with an answer, besides the one who is left out."""

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
# The published pattern also holds a look-behind that is misspelt and never matches, so that this is all it does.
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = int(re.UNICODE)  # the published call passes this flag in the place of a count
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_ARTICLES = frozenset(("a", "an", "the"))
_SHORT_FORMS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _contractions() -> dict[str, str]:
    """Short forms that lack one apostrophe, with what is made of them."""
    table = {
        form[:place] + form[place + 1 :]: form
        for form in _SHORT_FORMS.split()
        for place, letter in enumerate(form)
        if letter == "'"
    }
    return {**table, "somebody'd": "somebodyd"}  # the other way round, as published


CONTRACTIONS: Mapping[str, str] = _contractions()


def plain(text: str) -> str:
    """An answer without line ends, tabs and spaces around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    done = text
    thousands = _THOUSANDS.search(text) is not None
    for mark in _PUNCTUATION:
        gone = thousands or f"{mark} " in text or f" {mark}" in text
        done = done.replace(mark, "" if gone else " ")
    return _FULL_STOP.sub("", done, count=_MOST_FULL_STOPS)


@lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """An answer as it is compared where people disagree: no punctuation or articles, digits, whole short forms."""
    words = [_NUMBERS.get(word, word) for word in _without_punctuation(plain(text)).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def worth_of_count(count: int, people: int = PEOPLE) -> float:
    """What an answer is worth that `count` of `people` gave: the mean over leaving each of them out in turn.

    Of ten: 0, 0.3, 0.6, 0.9 and 1 for 0, 1, 2, 3 and more, which are also the usual soft targets.
    """
    return (count * min(1.0, (count - 1) / ENOUGH) + (people - count) * min(1.0, count / ENOUGH)) / people


def worths(answers: Sequence[str]) -> tuple[Callable[[str], str], dict[str, float]]:
    """What is done to an answer before it is compared with those of people, and what each one is then worth.

    A single answer counts as if all ten had given it.
    """
    texts = [plain(answer) for answer in answers]
    if len(texts) == 1:
        texts *= PEOPLE
    form: Callable[[str], str] = plain if len(set(texts)) == 1 else normalised
    counts = Counter(form(text) for text in texts)
    return form, {text: worth_of_count(count, len(texts)) for text, count in counts.items()}


def vqa_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """What an answer is worth, 0..1, by the answers of people (ten in VQA-v2); raises InputError without any."""
    if not answers:
        raise InputError("a question without answers cannot be scored")
    form, known = worths(answers)
    return known.get(form(predicted), 0.0)


@dataclass(frozen=True)
class OfficialAccuracy:
    """VQA accuracy in percent, rounded to two decimals as the official program does."""

    overall: float
    by_question_type: Mapping[str, float]
    by_answer_type: Mapping[str, float]


def official_accuracy(
    predicted: Mapping[Hashable, str],
    answers: Mapping[Hashable, Sequence[str]],
    question_types: Mapping[Hashable, str],
    answer_types: Mapping[Hashable, str],
) -> OfficialAccuracy:
    """Score answers by question id, as the challenge does.

    Raises InputError when a question is not answered, or there is none.
    """
    missing = next((number for number in answers if number not in predicted), None)
    if missing is not None:
        raise InputError(f"the question {missing} is not answered")
    if not answers:
        raise InputError("there are no questions to score")
    marks = np.array([vqa_accuracy(predicted[number], given) for number, given in answers.items()])

    def grouped(types: Mapping[Hashable, str]) -> dict[str, float]:
        names = [types[number] for number in answers]
        return {name: round(mean, 2) for name, mean in by_group(marks, names).items()}

    overall = round(100.0 * float(marks.mean()), 2)
    return OfficialAccuracy(overall, grouped(question_types), grouped(answer_types))
