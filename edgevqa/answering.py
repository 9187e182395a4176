"""A question about a picture, answered by an exported file, from the artifact folder alone and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgevqa.errors import InputError, UsageError


@dataclass(frozen=True)
class Reply:
    """What a model answers.

    Attributes:
        ranked: (answer, probability) of all answers, the best first; probabilities are a softmax over the logits.
        unknown: words of the question that the model does not know.
        cut: whether the question was longer than the model reads.
    """

    ranked: tuple[tuple[str, float], ...]
    unknown: tuple[str, ...]
    cut: bool


def answer(artifact_folder: Path, image: Path, question: str, *, runtime: str | None = None) -> Reply:
    """Answer a question about a picture.

    Args:
        artifact_folder: a folder with a manifest.json.
        image: a picture, or an .npz file with the model's features.
        question: the question.
        runtime: which runtime to use; the first installed one that fits by default.

    Raises:
        UsageError: not an artifact folder, or a runtime that cannot open it.
        InputError: the artifact, the picture or the question is broken, or no word of it is known.
        MissingExtra: no runtime for the file is installed.
    """
    import numpy as np

    from edgevqa.data.preprocessing import encode_question, feature_inputs, picture_inputs, question_inputs
    from edgevqa.data.text import Vocabulary
    from edgevqa.export.manifest import MANIFEST, load_artifact
    from edgevqa.runtimes.session import open_session

    if artifact_folder.name == MANIFEST or artifact_folder.suffix in (".onnx", ".tflite"):
        artifact_folder = artifact_folder.parent
    if not (artifact_folder / MANIFEST).exists():
        raise UsageError(f"{artifact_folder} holds no {MANIFEST}; give a folder that `edgevqa export` made")
    artifact = load_artifact(artifact_folder, verify=False)
    artifact.verify_file()
    manifest = artifact.manifest
    vocabulary = Vocabulary(tuple(manifest["vocabulary"]))
    encoded = encode_question(question, vocabulary, manifest["preprocessing"])
    if len(encoded.unknown) and not (encoded.tokens > 1).any():
        raise InputError(f"the model knows no word of {question!r}; it knows: {', '.join(vocabulary.words[3:40])} ...")
    read = feature_inputs if image.suffix == ".npz" else picture_inputs
    inputs = {
        **question_inputs(question, vocabulary, manifest["preprocessing"]),
        **read(image, manifest["preprocessing"]),
    }
    logits = open_session(artifact.file, runtime).run(inputs)[0].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InputError(f"{artifact.file} answers with numbers that are not finite; export it again")
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")
    ranked = tuple((manifest["answers"][place], float(probabilities[place])) for place in order)
    return Reply(ranked, encoded.unknown, encoded.cut)
