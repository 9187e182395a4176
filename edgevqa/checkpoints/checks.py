"""What a checkpoint folder must hold: every broken entry is an error that names the file and what it should be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevqa.data.word_pieces import Words, words_of
from edgevqa.errors import InputError, UsageError
from edgevqa.models.families import ModelConfig
from edgevqa.slimming.grid import Slimming
from edgevqa.slimming.rules import layer_lists
from edgevqa.storage import read_json

SCHEMA_VERSION = 1
CONFIG = "config.json"
ENTRIES: Mapping[str, str] = {
    "name": "a name of letters, digits, '.', '_' and '-'",
    "model": "an object",
    "slimming": "an object",
    "preprocessing": "an object",
    "dataset": "an object or null",
    "trained": "true or false",
    "scores": "an object of numbers",
    "floors": "an object of numbers",
    "training": "an object",
}
"""The entries of config.json, all of them required, and what each holds."""


def is_name(text: str) -> bool:
    """Whether a model may be called so: its artifacts lie in a folder of that name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) is not None


def _holds(value: Any, kind: str) -> bool:
    if kind.endswith(" or null"):
        return value is None or _holds(value, kind.removesuffix(" or null"))
    if kind == "true or false":
        return isinstance(value, bool)
    if kind.startswith("a name"):
        return isinstance(value, str) and is_name(value)
    if kind == "an object of numbers":
        return isinstance(value, dict) and all(type(item) in (int, float) for item in value.values())
    return isinstance(value, dict)


def check_entries(described: Any, path: Path) -> dict[str, Any]:
    """What was read from config.json, once every entry is there and of its kind."""
    if not isinstance(described, dict) or described.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path} is not a checkpoint of schema {SCHEMA_VERSION}, the one that this edgevqa reads")
    for name, kind in ENTRIES.items():
        if name not in described:
            raise InputError(f"{path} lacks the entry {name!r}")
        if not _holds(described[name], kind):
            raise InputError(f"{path}: the entry {name!r} should be {kind}, not {str(described[name])[:80]!r}")
    _check_numbers(described["model"], "model", path)
    return described


def _check_numbers(value: Any, name: str, path: Path) -> None:
    """Raise InputError unless every size of a model is a whole number, not negative."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("family", "kind", "dropout", "norm"):
                _check_numbers(item, f"{name}.{key}", path)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_numbers(item, f"{name}[{place}]", path)
    elif not isinstance(value, int) or value < 0:
        raise InputError(f"{path}: {name} should be a whole number, not {value!r}")


def read_answers(path: Path) -> tuple[str, ...]:
    """The answers in a JSON list; raises InputError when it is something else."""
    answers = read_json(path)
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise InputError(f"{path} is not a JSON list of answers")
    return tuple(answers)


def read_words(path: Path, preprocessing: Mapping[str, Any]) -> Words:
    """The vocabulary in a JSON list, of the kind that the questions need; raises InputError for anything else."""
    words = read_json(path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{path} is not a JSON list of words")
    question = preprocessing.get("question")
    return words_of(tuple(words), question if isinstance(question, dict) else {})


def check_sizes(folder: Path, config: ModelConfig, slimming: Slimming, *, words: int, answers: int) -> None:
    """Raise InputError unless vocabularies and slimming rules fit the sizes of the model."""
    for what, file, found, expected in (
        ("words", "vocabulary.json", words, config.vocabulary_size),
        ("answers", "answers.json", answers, config.answer_count),
    ):
        if found != expected:
            raise InputError(f"{folder / file} has {found} {what}; by {CONFIG} the model has {expected}")
    for name, length in layer_lists(config).items():
        order = slimming.layer_order.get(name, ())
        if len(order) != length or any(order.count(layer) != 1 for layer in range(length)):
            raise InputError(
                f"{folder / CONFIG}: slimming.layer_order.{name} should name each of the layers 0 to {length - 1} "
                f"once, not {list(order)}"
            )
    for name, fractions in (("widths", slimming.widths), ("depths", slimming.depths)):
        if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
            shown = ", ".join(map(str, fractions)) or "nothing"
            raise InputError(f"{folder / CONFIG}: slimming.{name} should be fractions from 0 to 1, not {shown}")


def check_free(folder: Path) -> None:
    """Raise UsageError when a checkpoint in `folder` would replace something that is not a checkpoint."""
    if folder.is_dir() and (os.path.isfile(folder / CONFIG) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise UsageError(f"{folder} holds something that is no checkpoint; it is not replaced, choose another folder")
