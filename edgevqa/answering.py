"""A question about a picture, answered by an exported file, from the artifact folder alone and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevqa.errors import InputError, MissingExtra, UsageError

if TYPE_CHECKING:
    from edgevqa.export.manifest import Artifact


@dataclass(frozen=True)
class Reply:
    """What a model answers.

    Attributes:
        ranked: (answer, probability) of all answers, the best first; probabilities are a softmax over the logits.
        unknown: words of the question that the model does not know.
        cut: whether the question was longer than the model reads.
        runtime: what ran the file.
    """

    ranked: tuple[tuple[str, float], ...]
    unknown: tuple[str, ...]
    cut: bool
    runtime: str


def answer(artifact_folder: Path, image: Path, question: str, *, runtime: str | None = None) -> Reply:
    """Answer a question about a picture.

    Args:
        artifact_folder: a folder with a manifest.json; a file in it will do.
        image: a picture, or an .npz file with the model's features.
        question: the question.
        runtime: which runtime to use; by default the first installed one that the file is for.

    Raises:
        UsageError: a runtime that the file is not for.
        InputError: the artifact, the picture or the question is broken or missing, or no word of it is known.
        MissingExtra: no runtime for the file is installed.
    """
    import numpy as np

    from edgevqa.data.preprocessing import MISSING, encode_question, feature_inputs, picture_inputs, question_inputs
    from edgevqa.data.word_pieces import words_of
    from edgevqa.export.manifest import load_artifact
    from edgevqa.runtimes.session import open_session

    artifact = load_artifact(artifact_folder, verify=False)
    artifact.verify_file()
    chosen = _runtime(artifact, runtime)
    manifest = artifact.manifest
    if missing := manifest["preprocessing"].get(MISSING):
        raise InputError(
            f"{artifact.name} was imported without its {' and '.join(missing)}, so it cannot be asked; "
            f"import and export it again with --{' and --'.join(missing)}"
        )
    vocabulary = words_of(tuple(manifest["vocabulary"]), manifest["preprocessing"]["question"])
    encoded = encode_question(question, vocabulary, manifest["preprocessing"])
    if encoded.unknown and len(encoded.unknown) == len(vocabulary.split(question)):
        raise InputError(f"the model knows no word of {question!r}; it knows: {', '.join(vocabulary.words[3:40])} ...")
    read = feature_inputs if image.suffix == ".npz" else picture_inputs
    inputs = {
        **question_inputs(question, vocabulary, manifest["preprocessing"]),
        **read(image, manifest["preprocessing"]),
    }
    logits = open_session(artifact.file, chosen).run(inputs)[0].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InputError(f"{artifact.file} answers with numbers that are not finite; export it again")
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")
    ranked = tuple((manifest["answers"][place], float(probabilities[place])) for place in order)
    return Reply(ranked, encoded.unknown, encoded.cut, chosen)


def _runtime(artifact: Artifact, wanted: str | None) -> str:
    """The runtime to use: a file may run in another one without an error and answer wrongly."""
    from edgevqa.runtimes import RUNTIMES, check_format, get_runtime, importable

    intended = artifact.manifest["runtimes"]
    if wanted is not None:
        check_format(artifact.file, get_runtime(wanted))
        if wanted not in intended:
            raise UsageError(
                f"{artifact.file} is made for {' and '.join(intended)} and may answer wrongly in {wanted}; "
                f"make one with: edgevqa export --runtime {wanted}"
            )
        return wanted
    known = [runtime for runtime in RUNTIMES.values() if runtime.name in intended]
    for runtime in known:
        if importable(runtime):
            return runtime.name
    if not known:
        raise UsageError(f"{artifact.file} is made for {' and '.join(intended) or 'no runtime'}; export it again")
    raise MissingExtra(known[0].package, known[0].extra)
