"""Checkpoints with fewer words: the embedding keeps the rows of the words that are asked for, unchanged.

In the smallest MCAN_BST submodel two thirds of the parameters are the embedding of 20573 words, and a device often
hears few of them. Questions within the words that stay are answered to the same logits as before.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.checkpoints.checks import CONFIG
from edgevqa.checkpoints.importers.reference import random_reference
from edgevqa.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from edgevqa.data.text import RESERVED, UNKNOWN, Vocabulary, tokenise
from edgevqa.errors import InputError, UsageError

TRIMMED = "trimmed_vocabulary"
"""The entry of the preprocessing, and so of every manifest, that says what was left out."""
FOLDER = "checkpoint"
"""The trimmed checkpoint's folder, beside its artifacts."""
EMBEDDING = "embedding.weight"
MOST_BYTES = 64 << 20


def read_words(path: Path) -> frozenset[str]:
    """The words of a text file, also of whole questions in it, by the rule by which questions are read.

    Raises:
        InputError: the file is missing, too large, no UTF-8 text, or holds no word.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES >> 20} MiB, which is no list of words")
        words = frozenset(tokenise(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text; give one word a line, or questions") from None
    if not words:
        raise InputError(f"{path} holds no word; give one word a line, or questions")
    return words


def trim_vocabulary(checkpoint: Checkpoint, words: Collection[str], out: Path) -> Checkpoint:
    """Write a checkpoint that knows only some words to `out`/<its name>/checkpoint; one that is there is reused.

    PAD, UNK and CLS stay. Reference questions with other words are left out, and counted in the preprocessing's entry
    `TRIMMED`. The scores on the whole test split are not known of the new checkpoint, and so it has none.

    Args:
        checkpoint: the slimmable model.
        words: what stays, as `tokenise` gives them; those that the model does not know are passed over.
        out: the folder of artifacts.

    Raises:
        UsageError: the model knows none of the words, was imported without its own, or another trimmed checkpoint of
            as many words lies there; or no reference question is left.
        InputError: the checkpoint is broken.
        EnvironmentFailure: the folder cannot be written.
    """
    own = checkpoint.vocabulary.words
    if "vocabulary" in checkpoint.missing:
        raise UsageError(f"{checkpoint.name} was imported without its words; import it again with --vocabulary")
    reserved = 2 + (own[2:3] == RESERVED[2:])
    kept = np.array([number for number, word in enumerate(own) if number < reserved or word in words])
    if len(kept) == reserved:
        raise UsageError(f"{checkpoint.name} knows none of these {len(words)} words")
    vocabulary = Vocabulary(tuple(own[number] for number in kept))
    name = f"{checkpoint.name}-{len(kept)}-words"
    trimmed = {
        "of": checkpoint.name,
        "weights_sha256": checkpoint.sha256,
        "words": len(kept),
        "all_words": len(own),
    }
    folder = out / name / FOLDER
    if (folder / CONFIG).is_file():
        there = load_checkpoint(folder)
        known = dict(there.preprocessing.get(TRIMMED, {}))
        known.pop("reference_questions_dropped", None)
        if (known, there.vocabulary) == (trimmed, vocabulary):
            return there
        raise UsageError(
            f"{folder} is {checkpoint.name} with other words; choose another --out, or remove {out / name}"
        )
    weights = checkpoint.parameters()
    weights[EMBEDDING] = weights[EMBEDDING][kept]
    config = replace(checkpoint.config, vocabulary_size=len(kept))
    made = replace(checkpoint, name=name, folder=folder, config=config, vocabulary=vocabulary, scores={})
    reference, dropped = _reference(checkpoint, made)
    trimmed["reference_questions_dropped"] = dropped
    made = replace(made, preprocessing={**checkpoint.preprocessing, TRIMMED: trimmed})
    card = f"# {name}\n\n{checkpoint.name} with {len(kept)} of its {len(own)} words; {dropped} of its reference "
    card += "questions use others and are left out. Questions within these words have the same answers as before.\n"
    save_checkpoint(made, weights, reference, card)
    return load_checkpoint(folder)


def _reference(checkpoint: Checkpoint, made: Checkpoint) -> tuple[dict[str, Any], int]:
    """The reference questions that use no other words, in their new numbers, and how many do."""
    path = checkpoint.reference_path
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        numbers = checkpoint.vocabulary.numbers_in(made.vocabulary)
        # What was unknown before is so still; what becomes unknown now is another question.
        stays = (numbers != UNKNOWN) | (np.arange(len(numbers)) == UNKNOWN)
        rows = stays[values["question"]].all(axis=1)
        values["question"] = numbers[values["question"]]
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise InputError(f"{path} holds no readable reference questions: {error}") from error
    dropped = int((~rows).sum())
    if rows.any():
        return {name: value[rows] for name, value in values.items()}, dropped
    if "labels" in values:
        raise UsageError(f"each of the {dropped} reference questions of {checkpoint.name} uses other words; name more")
    return dict(random_reference(made.config)), dropped
