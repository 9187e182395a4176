"""Questions answered by an exported file, from the artifact folder alone and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import InputError, IntegrityError, MissingExtra, UsageError

if TYPE_CHECKING:
    from edgevqa.data.score import Score
    from edgevqa.export.manifest import Artifact
    from edgevqa.progress import Progress


GQA_RESULT = ("questionId", "prediction")
"""The entries of an answer as the server of GQA takes them."""
LARGEST_SIZE = 4096
"""Of a side, a length or a number of regions in an artifact's preprocessing."""


@dataclass(frozen=True)
class Reply:
    """What a model answers.

    Attributes:
        ranked: (answer, probability) of all answers, the best first; probabilities are a softmax over the logits, or
            each answer's own where the model was trained to judge them one by one.
        unknown: words of the question that the model does not know.
        cut: whether the question was longer than the model reads.
        runtime: what ran the file.
        left_out: why entries were left out that could not be used.
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
    from edgevqa.export.manifest import MANIFEST, load_artifact
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
    _check_numbers(manifest["preprocessing"], artifact)
    read = feature_inputs if image.suffix == ".npz" else picture_inputs
    try:
        source = f"the vocabulary of {artifact.folder / MANIFEST}"
        vocabulary = words_of(manifest["vocabulary"], manifest["preprocessing"]["question"], source)
        encoded = encode_question(question, vocabulary, manifest["preprocessing"])
        if encoded.unknown and len(encoded.unknown) == len(vocabulary.split(question)):
            known = ", ".join(vocabulary.words[3:40])
            raise InputError(f"the model knows no word of {question!r}; it knows: {known} ...")
        inputs = {
            **question_inputs(question, vocabulary, manifest["preprocessing"]),
            **read(image, manifest["preprocessing"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise _broken(artifact, repr(error)) from error
    wanted = {str(described["name"]) for described in manifest["inputs"]}
    if inputs.keys() != wanted:
        raise _broken(artifact, f"it gives {', '.join(sorted(inputs))}; the model takes {', '.join(sorted(wanted))}")
    logits = open_session(artifact.file, chosen).run(inputs)[0].astype(np.float64)
    if not np.isfinite(logits).all():
        raise InputError(f"{artifact.file} answers with numbers that are not finite; export it again")
    if manifest["preprocessing"].get("probabilities") == "sigmoid":
        probabilities = np.exp(-np.logaddexp(0.0, -logits))
    else:
        weights = np.exp(logits - logits.max())
        probabilities = weights / weights.sum()
    order = np.argsort(-logits, kind="stable")
    ranked = tuple((manifest["answers"][place], float(probabilities[place])) for place in order)
    return Reply(ranked, encoded.unknown, encoded.cut, chosen)


@dataclass(frozen=True)
class Answered:
    """What a model answers to the questions of a file.

    Attributes:
        results: as the challenge's server takes them: `question_id` and `answer` for VQA-v2, `questionId` and
            `prediction` for GQA, in the order of the file; for CLEVR `question_index` and `answer`.
        score: where the questions have answers.
        groups: scores in percent by kind of group and group, likewise.
        runtime: what ran the file.
    """

    results: tuple[dict[str, int | str], ...]
    score: Score | None
    groups: Mapping[str, Mapping[str, float]]
    runtime: str
    left_out: tuple[str, ...] = ()


def answer_all(
    artifact_folder: Path,
    data: Path,
    split: str,
    *,
    runtime: str | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Answered:
    """Answer every question of a split of a folder of data, see `edgevqa.data.folder`.

    Args:
        artifact_folder: a folder with a manifest.json.
        data: the folder of data.
        split: which of its question files, such as `test2015`.
        runtime: which runtime to use; by default the first installed one that the file is for.
        skip_bad: whether entries that cannot be used are told and left out; else the first one is an error.
        progress: told about the questions.

    Raises:
        UsageError: there is no such split, or the file is not for this runtime.
        InputError: the artifact or the data is broken or missing.
        MissingExtra: no runtime for the file is installed.
    """
    import numpy as np

    from edgevqa.data.bad import BadEntries
    from edgevqa.data.folder import DataFolder, Part
    from edgevqa.data.own import Lists, make_own_split
    from edgevqa.data.preprocessing import MISSING
    from edgevqa.data.questions import CLEVR, VQA
    from edgevqa.data.score import ACCURACY, VQA_ACCURACY, by_group
    from edgevqa.data.word_pieces import words_of
    from edgevqa.export.manifest import MANIFEST, load_artifact
    from edgevqa.progress import Silent
    from edgevqa.runtimes.session import open_session

    progress = progress or Silent()
    artifact = load_artifact(artifact_folder, verify=False)
    artifact.verify_file()
    manifest = artifact.manifest
    if missing := manifest["preprocessing"].get(MISSING):
        raise InputError(f"{artifact.name} was imported without its {' and '.join(missing)}, so it cannot be asked")
    _check_numbers(manifest["preprocessing"], artifact)
    try:
        source = f"the vocabulary of {artifact.folder / MANIFEST}"
        vocabulary = words_of(manifest["vocabulary"], manifest["preprocessing"]["question"], source)
    except (KeyError, TypeError, AttributeError) as error:
        raise _broken(artifact, repr(error)) from error
    folder = DataFolder(data, BadEntries(skip_bad, progress))
    files = folder.published(split)
    found = folder.read(files)
    several = any(len(question.answers) > 1 for question in found.questions)
    made = make_own_split(
        folder,
        Part(found.questions, files.split, files.files),
        f"{data.name}/{split}",
        Lists(vocabulary, tuple(manifest["answers"]), dict(manifest["preprocessing"])),
        VQA_ACCURACY if several else ACCURACY,
        progress,
    )
    session = open_session(artifact.file, _runtime(artifact, runtime))
    places = []
    progress.start(f"answering {split}", len(made))
    for row in range(len(made)):
        logits = session.run(made.model_inputs([row]))
        if not np.isfinite(logits).all():
            raise InputError(f"question {made.ids[row]} gives logits that are no finite numbers; export the file again")
        places.append(int(logits.argmax()))
        progress.step(artifact.name)
    progress.finish()
    names = {VQA: ("question_id", "answer"), CLEVR: ("question_index", "answer")}.get(found.format, GQA_RESULT)
    results = tuple(
        dict(zip(names, (number, manifest["answers"][place]), strict=True))
        for number, place in zip(made.ids, places, strict=True)
    )
    if not found.answered:
        return Answered(results, None, {}, session.runtime.name, tuple(folder.bad.messages))
    marks = made.key.marks(places)
    groups = {kind: by_group(marks, group) for kind, group in made.groups.items()}
    return Answered(results, made.key.score(places), groups, session.runtime.name, tuple(folder.bad.messages))


def _broken(artifact: Artifact, why: str) -> IntegrityError:
    path = artifact.folder / "manifest.json"
    return IntegrityError(f"{path}: the key 'preprocessing' does not say how to read a picture and a question ({why})")


def _check_numbers(value: Any, artifact: Artifact) -> None:
    """Raise IntegrityError for a size in the preprocessing for which there would not be the memory."""
    if isinstance(value, dict):
        for item in value.values():
            _check_numbers(item, artifact)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST_SIZE:
        raise _broken(artifact, f"{value} is larger than {LARGEST_SIZE}")


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
