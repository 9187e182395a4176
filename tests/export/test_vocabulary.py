"""Files that know fewer words: the same answers to questions within them, and nothing hidden about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint, trim
from edgevqa.checkpoints.trim import TRIMMED, read_text, trim_vocabulary
from edgevqa.data.text import UNKNOWN
from edgevqa.data.word_pieces import WordPieces
from edgevqa.devices import Target
from edgevqa.errors import InputError, UsageError
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import load_artifact
from edgevqa.gate import quick_gate
from edgevqa.runtimes.session import open_session
from tests.export import toy

KEPT = [number for number in range(toy.WORDS - 3) if number % 4]
WORDS = [f"w{number:02d}" for number in KEPT]
TEXT = f"{WORDS[0].upper()} is not {WORDS[1]}-{WORDS[2]}?\n" + "\n".join(WORDS[3:])


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return trim_vocabulary(toy.shared(), TEXT, tmp_path_factory.mktemp("out"))


def questions_within(model: Checkpoint, trimmed: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Questions of the words that stay and of unknown ones, in the numbers of either vocabulary."""
    old = toy.inputs(model.config, 40, seed=5)
    generator = np.random.default_rng(0)
    places = np.array([UNKNOWN, *(3 + number for number in KEPT)])
    old["question"] = np.where(old["question"] == 0, 0, generator.choice(places, old["question"].shape)).astype(
        np.int32
    )
    assert (old["question"] == UNKNOWN).any()
    renumbered = np.full(toy.WORDS, -1, np.int32)
    for number, word in enumerate(trimmed.vocabulary.words):
        renumbered[model.vocabulary.words.index(word)] = number
    return old, {**old, "question": renumbered[old["question"]]}


def test_the_trimmed_checkpoint_says_what_it_is(model: Checkpoint, trimmed: Checkpoint) -> None:
    assert trimmed.name == f"toy-{len(KEPT) + 3}-words"
    assert trimmed.vocabulary.words == ("PAD", "UNK", "CLS", *WORDS)
    said = trimmed.preprocessing[TRIMMED]
    assert (said["of"], said["words"], said["all_words"]) == ("toy", len(KEPT) + 3, toy.WORDS)
    with np.load(model.reference_path) as all_of_them, np.load(trimmed.reference_path) as stay:
        gone = 3 + np.setdiff1d(np.arange(toy.WORDS - 3), KEPT)
        within = ~np.isin(all_of_them["question"], gone).any(1)
        assert 0 < within.sum() == len(stay["question"]) < toy.COUNT
        assert said["reference_questions_dropped"] == toy.COUNT - within.sum()
        assert (stay["labels"] == all_of_them["labels"][within]).all()
        assert (stay["regions"] == all_of_them["regions"][within]).all()
        for old, new in zip(all_of_them["question"][within], stay["question"], strict=True):
            assert [model.vocabulary.words[number] for number in old] == [
                trimmed.vocabulary.words[number] for number in new
            ]
    assert trimmed.scores == {}, "its score on questions with other words is not known"


@pytest.mark.slow
def test_files_answer_the_same_within_the_words(model: Checkpoint, trimmed: Checkpoint, tmp_path: Path) -> None:
    old, new = questions_within(model, trimmed)
    made = export_submodel(trimmed, toy.plan(trimmed), out=tmp_path)
    here = Target("here", "this machine", "local", ("onnxruntime", "litert"))
    for artifact, runtime in zip(made, ("onnxruntime", "litert"), strict=True):
        whole = load_artifact(toy.exported() / "toy" / "w0.25-d1" / artifact.folder.name)
        assert artifact.manifest["preprocessing"][TRIMMED] == trimmed.preprocessing[TRIMMED]
        assert len(artifact.manifest["vocabulary"]) == len(KEPT) + 3
        rows = 12 * (toy.WORDS - len(KEPT) - 3)
        assert whole.manifest["parameters"] - artifact.manifest["parameters"] == rows
        assert artifact.manifest["file_bytes"] < whole.manifest["file_bytes"]
        sessions = open_session(whole.file, runtime), open_session(artifact.file, runtime)
        for row in range(len(old["question"])):
            expected, found = (
                session.run({name: values[row : row + 1] for name, values in inputs.items()})
                for session, inputs in zip(sessions, (old, new), strict=True)
            )
            assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
        assert quick_gate(artifact, runtime, here).status == "passed"


def test_the_same_words_again_are_reused_and_others_refused(
    model: Checkpoint, trimmed: Checkpoint, tmp_path: Path
) -> None:
    out = trimmed.folder.parents[1]
    stamp = trimmed.weights_path.stat().st_mtime_ns
    again = trim_vocabulary(model, f"never heard {TEXT}", out)
    assert again == trimmed and trimmed.weights_path.stat().st_mtime_ns == stamp
    others = " ".join([*WORDS[1:], "w00"])
    with pytest.raises(UsageError, match="is toy with other words; choose another --out"):
        trim_vocabulary(model, others, out)
    assert trim_vocabulary(model, others, tmp_path).vocabulary != trimmed.vocabulary


def test_words_that_leave_nothing_are_refused(model: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model knows none of the 2 words"):
        trim_vocabulary(model, "red circle", tmp_path)
    with pytest.raises(UsageError, match="each of the 100 reference questions of toy uses other words"):
        trim_vocabulary(model, "w00", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_words_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 text"):
        read_text(path)
    with pytest.raises(InputError, match="cannot read"):
        read_text(tmp_path / "none.txt")


def test_words_in_pieces_keep_their_pieces() -> None:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##in", "##g", "play##", "plays", "red", "##s")
    whole = WordPieces(words, lower_case=True)
    kept = [whole.words[number] for number in trim._kept(whole, "Are you playing?")]
    assert kept == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing"]
    fewer = WordPieces(tuple(kept), lower_case=True)
    assert fewer.pieces("playing") == whole.pieces("playing") and fewer.pieces("plays") == ["[UNK]"]
