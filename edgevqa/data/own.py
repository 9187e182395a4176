"""Datasets of a user's own: a folder's questions and pictures behind the same `Dataset` as everything else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.data.bad import BadEntries
from edgevqa.data.dataset import UNCHANGED, Dataset, Split
from edgevqa.data.features import BOX_NUMBERS
from edgevqa.data.folder import FEATURES, IMAGES, DataFolder, Part
from edgevqa.data.forms import FORMS, QUESTION_LENGTHS, Form
from edgevqa.data.grids import DESCRIBED
from edgevqa.data.lists import answer_minimum, build_answers, list_form, read_answer_list, read_word_list
from edgevqa.data.own_pictures import FolderPictures
from edgevqa.data.questions import GROUPS, Question
from edgevqa.data.score import ACCURACY, VQA_ACCURACY, AnswerKey
from edgevqa.data.vqa_accuracy import PEOPLE, worth_of_count, worths
from edgevqa.data.word_pieces import Words
from edgevqa.errors import InputError, UsageError
from edgevqa.progress import Progress, Silent

VERSION = 1
SAMPLED, MOST_TOKENS = 64, 100
"""Pictures whose features are looked at for their sizes, and the regions that a model has room for at most."""
SIDE = 64
NORMALISATION = {"mean": 0.45, "deviation": 0.25}
PICTURES = ("pixels", "features", "grid")
"""What pictures may be given to the model as."""
RESERVED_NAMES = ("scenes", "scenes-pixels", "easy-vqa")


@dataclass(frozen=True)
class Lists:
    """What a model knows: its words, its answers, and how pictures and questions become inputs."""

    vocabulary: Words
    answers: tuple[str, ...]
    preprocessing: dict[str, Any]


def own_dataset(
    path: Path,
    *,
    picture: str | None = None,
    answers: Path | None = None,
    vocabulary: Path | Words | None = None,
    minimum: int | None = None,
    regions: int | None = None,
    side: int | None = None,
    grid: tuple[int, int] | None = None,
    form: Form = FORMS["mcan"],
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """The dataset in a folder, see `edgevqa.data.folder`, with lists built from its training questions.

    Args:
        path: the folder.
        picture: "pixels", "features" or "grid"; by default features where there is such a folder.
        answers: an answer list to use instead, see `edgevqa.data.lists`.
        vocabulary: a word list to use instead, or the words themselves.
        minimum: how often an answer must occur to be in the list; see `answer_minimum`.
        regions: for how many regions of a picture the model has room; by default as many as a sample of pictures has.
        side: height and width of pixels; 64 by default.
        grid: rows and columns of features, where the family takes them as a grid; a square by default.
        form: how the family takes questions and pictures.
        skip_bad: whether entries that cannot be used are told and left out; else the first one is an error.
        progress: told about long work.

    Raises:
        UsageError: there is no such folder, neither images/ nor features/ in it, or the family does not take those.
        InputError: a file in it is broken or missing.
    """
    progress = progress or Silent()
    folder = DataFolder(path, BadEntries(skip_bad, progress))
    train = folder.part("train").questions
    kind = _picture_kind(path, picture)
    texts = sorted({question.text for question in train})
    words = read_word_list(vocabulary) if isinstance(vocabulary, Path) else vocabulary or form.build_words(texts)
    if answers is None:
        known = build_answers(train, folder.format, answer_minimum(len(train)) if minimum is None else minimum)
    else:
        known = read_answer_list(answers)
    pictures = _picture_described(folder, kind, regions, side or SIDE, form, progress)
    preprocessing: dict[str, Any] = {
        "question": form.question(words, texts, QUESTION_LENGTHS[folder.format]),
        "picture": form.picture(pictures, str(path), grid),
    }
    source = _source(folder)
    score = ACCURACY
    if any(len(question.answers) > 1 for question in train):
        score, preprocessing["probabilities"] = VQA_ACCURACY, "sigmoid"
    return _dataset(folder, Lists(words, known, preprocessing), name_of(path), score, source)


def with_lists(path: Path, lists: Lists, *, skip_bad: bool = False, progress: Progress | None = None) -> Dataset:
    """The dataset in a folder for a model that was not trained on it and brings its own lists, such as an imported one.

    Training questions may be missing. Raises what `own_dataset` raises.
    """
    folder = DataFolder(path, BadEntries(skip_bad, progress))
    several = any(len(question.answers) > 1 for question in folder.part("test").questions)
    score = VQA_ACCURACY if several else ACCURACY
    return _dataset(folder, lists, name_of(path), score, _source(folder))


def _source(folder: DataFolder) -> dict[str, Any]:
    """Where data is, as a checkpoint keeps it."""
    parts = folder.parts.values()
    files = {name: digest for part in parts for name, digest in folder.hashes(part.files).items()}
    made: dict[str, Any] = {"folder": str(folder.path.resolve()), "files": files}
    return {**made, "skip_bad": True} if folder.bad.skip else made


def reopen(described: Mapping[str, Any], lists: Lists, path: Path | None = None, *, skip_bad: bool = False) -> Dataset:
    """The dataset that a model was trained on, with the model's own lists.

    Args:
        described: what `Dataset.described` gave.
        lists: the model's.
        path: where the folder is now, when it was moved.
        skip_bad: whether entries that cannot be used are left out, as they are where the training did so.

    Raises:
        InputError: the folder is gone, or its question files are not those of the training.
    """
    source = described.get("source")
    try:
        folder = Path(path or source["folder"])  # type: ignore[index]
        files, name, score = dict(source["files"]), str(described["name"]), str(described["score"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise InputError("the checkpoint does not say where its data is; name the folder with --data") from None
    if not folder.is_dir():
        raise InputError(f"the data in {folder} is gone; where it was moved to is said with --data")
    bad = BadEntries(skip_bad or source.get("skip_bad") is True)  # type: ignore[union-attr]
    known = {**source, "folder": str(folder.resolve()), "files": files}  # type: ignore[dict-item]
    return _dataset(DataFolder(folder, bad), lists, name, score, known)


def name_of(path: Path) -> str:
    """A name for the data in a folder: the folder's, of letters, digits, '.', '_' and '-'."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip(".-_") or "data"
    return f"{name}-folder" if name in RESERVED_NAMES else name


def _picture_kind(path: Path, wanted: str | None) -> str:
    there = {kind: (path / name).is_dir() for kind, name in (("features", FEATURES), ("pixels", IMAGES))}
    if wanted is None:
        wanted = next((kind for kind, found in there.items() if found), None)
        if wanted is None:
            raise UsageError(f"{path} has neither {IMAGES}/ nor {FEATURES}/, so there are no pictures to ask about")
    if wanted not in PICTURES:
        raise UsageError(f"a picture cannot be given as {wanted!r}; there are {', '.join(PICTURES)}")
    needed = FEATURES if wanted == "features" else IMAGES
    if not (path / needed).is_dir():
        raise UsageError(f"{path} has no folder {needed}/, which {wanted} are read from")
    return wanted


def _picture_described(
    folder: DataFolder, kind: str, regions: int | None, side: int, form: Form, progress: Progress
) -> dict[str, Any]:
    """How pictures become inputs; the sizes of features are those of a sample of the training pictures."""
    if kind == "grid":
        return dict(DESCRIBED)
    if kind == "pixels":
        return {"kind": "pixels", "side": side, "normalisation": NORMALISATION}
    base, part = folder.features(progress), folder.part("train")
    pictures = sorted({question.image for question in part.questions})
    chosen = {pictures[place] for place in np.linspace(0, len(pictures) - 1, SAMPLED).astype(int).tolist()}
    found = []
    for image in sorted(chosen):
        try:
            found.append(base.read(base.find(image, part.split)))
        except InputError:
            if not folder.bad.skip:
                raise
    if not found:
        raise InputError(f"none of {len(chosen)} pictures that were tried has features in {folder.path / FEATURES}")
    sizes = {one.features.shape[1] for one in found}
    if len(sizes) > 1:
        raise InputError(
            f"{folder.path / FEATURES} has features of several sizes: {', '.join(map(str, sorted(sizes)))}"
        )
    boxes = BOX_NUMBERS if all(one.boxes is not None for one in found) else 0
    # A grid is whole, also where its last features are zeros.
    most = max(one.rows for one in found) if form.grid else min(MOST_TOKENS, max(len(one.features) for one in found))
    return {"kind": "features", "regions": regions or most, "features": sizes.pop(), "boxes": boxes}


def _dataset(folder: DataFolder, lists: Lists, name: str, score: str, source: dict[str, Any]) -> Dataset:
    def make_split(split: str, progress: Progress) -> Split:
        folder.bad.progress = progress
        part = folder.part(split)
        for file, digest in folder.hashes(part.files).items():
            if source["files"].get(file) != digest:
                raise InputError(f"{folder.path / file} was changed or added since the training; put the old one back")
        return make_own_split(folder, part, f"{name}/{split}", lists, score, progress, training=split == "train")

    return Dataset(
        name=name,
        version=VERSION,
        seed=0,
        vocabulary=lists.vocabulary,
        answers=lists.answers,
        preprocessing=lists.preprocessing,
        card={"source": str(folder.path), "answers": list(lists.answers)},
        question_length=int(lists.preprocessing["question"]["length"]),
        make_split=make_split,
        score=score,
        source=source,
    )


def make_own_split(
    folder: DataFolder, part: Part, name: str, lists: Lists, score: str, progress: Progress, *, training: bool = False
) -> Split:
    """The questions of a part of a folder as a split; its pictures are read when they are asked for.

    Args:
        folder: where the pictures are.
        part: the questions.
        name: of the split.
        lists: the model's words, answers and preprocessing.
        score: the kind of the score.
        progress: told about long work.
        training: whether questions that no answer of the list is right for are left out.

    Raises InputError when a picture is missing, or when no question is left; what is left out of bad ones is told.
    """
    pictures = sorted({question.image for question in part.questions})
    found = FolderPictures(folder, part.split, lists.preprocessing["picture"], progress)
    usable = found.usable(pictures, folder.bad)
    asked = []
    for question in part.questions:
        if not lists.vocabulary.split(question.text):
            folder.bad.found(InputError(f"{name}: the question {question.id!r} has no word"))
        elif question.image in usable:
            asked.append(question)
    numbers = {answer: number for number, answer in enumerate(lists.answers)}
    forms = _forms(lists.answers, folder.format)
    soft = [_soft(question, forms, folder.format) for question in asked]
    kept = [row for row, worth in enumerate(soft) if worth or not training]
    if len(kept) < len(asked):
        progress.note(
            f"{len(asked) - len(kept)} of {len(asked)} questions of {name} have no right answer among the "
            f"{len(numbers)} of the list and are not trained on"
        )
    questions = [asked[row] for row in kept]
    folder.bad.told()
    if not questions:
        raise InputError(f"no answer to a question of {name} is in the list of {len(numbers)} answers")
    soft = [soft[row] for row in kept]
    length = int(lists.preprocessing["question"]["length"])
    ids = sorted({question.image for question in questions})
    row_of = {image: row for row, image in enumerate(ids)}
    images = found.open(ids)
    groups = {
        kind: tuple(question.groups[place] for question in questions)
        for place, kind in enumerate(GROUPS[folder.format])
    }
    several = score == VQA_ACCURACY
    encoded = [lists.vocabulary.encode(question.text, length) for question in questions]
    if cut := sum(one.cut for one in encoded):
        progress.note(f"{cut} of {len(encoded)} questions of {name} have more than {length} tokens and lose their ends")
    return Split(
        name=name,
        texts=tuple(question.text for question in questions),
        tokens=np.stack([one.tokens for one in encoded]),
        answers=np.array([_best(worth) for worth in soft], np.int64),
        types=tuple(question.groups[0] for question in questions),
        image_index=np.array([row_of[question.image] for question in questions], np.int64),
        images=images,
        normalisation=lists.preprocessing["picture"].get("normalisation", UNCHANGED),
        ids=tuple(question.id for question in questions),
        groups=groups,
        worth=AnswerKey.from_rows(score, _official(questions, lists.answers)) if several else None,
        soft=AnswerKey.from_rows(score, soft) if several else None,
    )


def _forms(answers: Sequence[str], file_format: str) -> dict[str, int]:
    """The form of each answer of a list, with its place; of equal ones the first."""
    forms: dict[str, int] = {}
    for number, answer in enumerate(answers):
        forms.setdefault(list_form(answer, file_format), number)
    return forms


def _soft(question: Question, forms: Mapping[str, int], file_format: str) -> dict[int, float]:
    """What the answers of the list are worth to a question in training: 0.3, 0.6, 0.9 or 1 for 1 to 4 people or more.

    People's answers are always normalised here, as those of the list are.
    """
    given = [list_form(answer, file_format) for answer in question.answers]
    people = PEOPLE if len(given) == 1 else len(given)
    counts = Counter(given * PEOPLE if len(given) == 1 else given)
    return {forms[text]: worth_of_count(count, people) for text, count in counts.items() if text in forms}


def _official(questions: Sequence[Question], answers: Sequence[str]) -> list[dict[int, float]]:
    """What each answer of the list scores for each question, by the published rule."""
    places: dict[Callable[[str], str], dict[str, list[int]]] = {}
    rows = []
    for question in questions:
        row: dict[int, float] = {}
        if question.answers:
            form, known = worths(question.answers)
            if form not in places:
                by_text: dict[str, list[int]] = {}
                for number, answer in enumerate(answers):
                    by_text.setdefault(form(answer), []).append(number)
                places[form] = by_text
            row = {place: worth for text, worth in known.items() for place in places[form].get(text, ())}
        rows.append(row)
    return rows


def _best(worth: Mapping[int, float]) -> int:
    """The answer that is worth most, the first of the list among equals; -1 when none is worth anything."""
    return min(worth, key=lambda place: (-worth[place], place), default=-1)
