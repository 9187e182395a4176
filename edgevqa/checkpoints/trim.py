"""Checkpoints with fewer words: the embedding keeps the rows of the words that are asked for, unchanged.

In the smallest MCAN_BST submodel two thirds of the parameters are the embedding of 20573 words, and a device often
hears few of them. Questions within the words that stay are answered to the same logits as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.checkpoints.checks import CONFIG
from edgevqa.checkpoints.importers.reference import random_reference
from edgevqa.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from edgevqa.data.text import RESERVED, tokenise
from edgevqa.data.word_pieces import SPECIAL, WordPieces, Words
from edgevqa.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRIMMED = "trimmed_vocabulary"
"""The entry of the preprocessing, and so of every manifest, that says what was left out."""
FOLDER = "checkpoint"
"""The trimmed checkpoint's folder, beside its artifacts."""
EMBEDDINGS: Mapping[str, str] = {
    "mcan": "embedding.weight",
    "uniter": "text.words.weight",
    "clip-vil": "text.words.weight",
}
"""By family, the table of words."""
MOST_BYTES = 64 << 20
GONE = -1


def read_text(path: Path) -> str:
    """The text of a file of words or questions.

    Raises:
        InputError: the file is missing, too large, or no UTF-8 text.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES >> 20} MiB, which is no list of words")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text; give one word a line, or questions") from None


def _kept(vocabulary: Words, text: str) -> NDArray[np.int64]:
    """The numbers of the reserved entries and of a text's words, or of their pieces, ascending.

    A word keeps its pieces when others go: none of those that are left is longer than the one that was chosen.
    """
    if isinstance(vocabulary, WordPieces):
        wanted = {piece for word in set(vocabulary.split(text)) for piece in vocabulary.pieces(word)}
        reserved = set(SPECIAL)
    else:
        wanted = set(tokenise(text))
        reserved = {word for word, first in zip(vocabulary.words, RESERVED, strict=False) if word == first}
    if not (wanted - reserved).intersection(vocabulary.words):
        raise UsageError(f"the model knows none of the {len(wanted)} words that should stay")
    return np.array([number for number, word in enumerate(vocabulary.words) if word in wanted | reserved])


def trim_vocabulary(checkpoint: Checkpoint, text: str, out: Path) -> Checkpoint:
    """Write a checkpoint that knows only a text's words to `out`/<its name>/checkpoint; one that is there is reused.

    Reserved entries such as PAD and UNK stay. Reference questions with other words are left out, and counted in the
    preprocessing's entry `TRIMMED`. The scores on the whole test split are not known of the new checkpoint, and so it
    has none.

    Args:
        checkpoint: the slimmable model.
        text: words, or questions that hold them; those that the model does not know are passed over.
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
    kept = _kept(checkpoint.vocabulary, text)
    vocabulary = replace(checkpoint.vocabulary, words=tuple(own[number] for number in kept))
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
    embedding = EMBEDDINGS[checkpoint.config.family]
    weights[embedding] = weights[embedding][kept]
    config = replace(checkpoint.config, vocabulary_size=len(kept))
    made = replace(checkpoint, name=name, folder=folder, config=config, vocabulary=vocabulary, scores={})
    reference, dropped = _reference(checkpoint, made, kept)
    trimmed["reference_questions_dropped"] = dropped
    made = replace(made, preprocessing={**checkpoint.preprocessing, TRIMMED: trimmed})
    card = f"# {name}\n\n{checkpoint.name} with {len(kept)} of its {len(own)} words; {dropped} of its reference "
    card += "questions use others and are left out. Questions within these words have the same answers as before.\n"
    save_checkpoint(made, weights, reference, card)
    return load_checkpoint(folder)


def _reference(checkpoint: Checkpoint, made: Checkpoint, kept: NDArray[np.int64]) -> tuple[dict[str, Any], int]:
    """The reference questions that use no other words, in their new numbers, and how many do."""
    path = checkpoint.reference_path
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        numbers = np.full(len(checkpoint.vocabulary), GONE, np.int32)
        numbers[kept] = np.arange(len(kept))
        values["question"] = numbers[values["question"]]
        rows = (values["question"] != GONE).all(axis=1)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise InputError(f"{path} holds no readable reference questions: {error}") from error
    dropped = int((~rows).sum())
    if rows.any():
        return {name: value[rows] for name, value in values.items()}, dropped
    if "labels" in values:
        raise UsageError(f"each of the {dropped} reference questions of {checkpoint.name} uses other words; name more")
    return dict(random_reference(made.config)), dropped
