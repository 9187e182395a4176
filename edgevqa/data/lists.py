"""Lists of words and of answers, built from questions or read as each project keeps them; their orders differ.

What is read, as JSON:

    {"PAD": 0, "UNK": 1, ...}                                       openvqa's words
    [{answer: number}, {number: answer}]                            openvqa's answer_dict.json
    [{answer: number}, {number: answer}, {word: number}, length]    openvqa's dicts.json of GQA
    [answer, ...]                                                   LXMERT's trainval_label2ans.json, and edgevqa's own
    {answer: number}                                                LXMERT's and UNITER's ans2label
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgevqa.data.questions import VQA, Question
from edgevqa.data.text import Vocabulary
from edgevqa.data.vqa_accuracy import normalised, plain
from edgevqa.errors import InputError
from edgevqa.storage import read_json

MINIMUM = 9
"""How often an answer must be the main one to be in the list that VQA-v2's models share."""
QUESTIONS_A_TIME = 10_000
"""Smaller data keeps rarer answers: the minimum falls by one for every so many questions that are missing."""


def answer_minimum(questions: int) -> int:
    """How often an answer must occur among so many questions to be kept."""
    return max(1, min(MINIMUM, questions // QUESTIONS_A_TIME))


def list_form(answer: str, file_format: str) -> str:
    """An answer as it stands in a list: normalised for VQA, as it is for GQA, whose answers are compared literally."""
    return normalised(answer) if file_format == VQA else plain(answer)


def build_answers(questions: Iterable[Question], file_format: str, minimum: int) -> tuple[str, ...]:
    """The main answers that occur at least `minimum` times, the most frequent first.

    Raises InputError when none does.
    """
    counts = Counter(list_form(question.main, file_format) for question in questions)
    counts.pop("", None)
    kept = [answer for answer, count in counts.items() if count >= minimum]
    if not kept:
        raise InputError(f"no answer occurs {minimum} times, so there is nothing to choose from; lower the minimum")
    return tuple(sorted(kept, key=lambda answer: (-counts[answer], answer)))


def read_answer_list(path: Path) -> tuple[str, ...]:
    """The answers of a file in their order; raises InputError when it is no answer list."""
    content = read_json(path)
    if _is_gqa(content) or (isinstance(content, list) and len(content) == 2 and isinstance(content[0], dict)):
        content, back = content[0], content[1]
        answers = listed(content, path)
        if not isinstance(back, dict) or {str(number): answer for number, answer in enumerate(answers)} != back:
            raise InputError(f"{path}: its two tables contradict each other; is it an answer_dict.json?")
        return answers
    return listed(content, path)


def read_word_list(path: Path) -> Vocabulary:
    """The words of a file in their order; raises InputError when it is no word list."""
    content = read_json(path)
    words = listed(content[2] if _is_gqa(content) else content, path)
    try:
        return Vocabulary(words)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _is_gqa(content: Any) -> bool:
    return isinstance(content, list) and len(content) == 4 and isinstance(content[2], dict)


def listed(content: Any, path: Path) -> tuple[str, ...]:
    """The texts of a list, or of a table text -> number, in the order of their numbers."""
    if isinstance(content, list) and all(isinstance(text, str) for text in content):
        text, times = next(iter(Counter(content).most_common(1)), ("", 0))
        if times > 1:
            raise InputError(f"{path} holds {text!r} {times} times")
        return tuple(content)
    if not isinstance(content, dict) or not all(type(number) is int for number in content.values()):
        raise InputError(f"{path} is neither a list of texts nor a table of texts and their numbers")
    by_number = {number: text for text, number in content.items()}
    for number in range(len(content)):
        if number not in by_number:
            raise InputError(f"{path}: the number {number} is missing among {len(content)} entries")
    return tuple(by_number[number] for number in range(len(content)))
