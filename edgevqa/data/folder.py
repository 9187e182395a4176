"""A folder of a user's own data: which files hold the questions of which split, and how splits are made of them.

FOLDER/
  *train*question*.json  *val*question*.json  *test*question*.json     VQA-v2's format, GQA's or CLEVR's
  *train*question*/*.json                                              or GQA's in parts
  *train*annotation*.json  ...                                         the answers, for VQA-v2's
  images/ or features/                                                 pictures, see `edgevqa.data.pictures`
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgevqa.data.bad import STRICT, BadEntries
from edgevqa.data.feature_bases import FeatureBase, open_features
from edgevqa.data.questions import Question, QuestionFile, read_parts, read_questions
from edgevqa.errors import InputError, UsageError
from edgevqa.progress import Progress
from edgevqa.storage import sha256_bytes, sha256_file

IMAGES, FEATURES = "images", "features"
_SPLIT = re.compile(r"train|val|test", re.ASCII)
_WORD = re.compile(r"(?<![a-z])(?:train|val|test)[a-z0-9-]*", re.ASCII)
CARVED_SHARE, CARVED_PICTURES = 10, 2000
"""A split that is missing is made of every tenth picture of training, of 2,000 at most."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one published split.

    Attributes:
        word: what it is called in the files' names, such as `train2014`.
        questions: the question file, or the folder of its parts.
        annotations: the annotation file, or None.
        parts: the parts of a question file in GQA's format that is divided.
    """

    word: str
    questions: Path
    annotations: Path | None
    parts: tuple[Path, ...] = ()

    @property
    def split(self) -> str:
        """`train`, `val` or `test`: how the word begins; a file that names no split is of training."""
        found = _SPLIT.match(self.word)
        return found[0] if found else "train"

    @property
    def files(self) -> tuple[Path, ...]:
        """Both files, or the one, or all parts."""
        if self.parts:
            return self.parts
        return (self.questions,) if self.annotations is None else (self.questions, self.annotations)


@dataclass(frozen=True)
class Part:
    """The questions of a split that is trained or scored on, and the published split that they come from."""

    questions: tuple[Question, ...]
    split: str
    files: tuple[Path, ...]


class DataFolder:
    """A folder of data, see the module; its question files are read when they are first needed.

    Raises UsageError when there is no such folder or no question file in it, InputError when a file has no partner.

    Args:
        path: the folder.
        bad: what is done about entries that cannot be used.
    """

    def __init__(self, path: Path, bad: BadEntries = STRICT) -> None:
        self.path = path
        self.bad = bad
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder; give one with question files and with images/ or features/")
        self.splits: Mapping[str, SplitFiles] = {files.word: files for files in _find(path)}
        self._read: dict[str, QuestionFile] = {}
        self._features: FeatureBase | None = None

    def read(self, files: SplitFiles) -> QuestionFile:
        """The questions of a published split; raises what `read_questions` raises."""
        if files.word not in self._read:
            if files.parts:
                found = read_parts(files.parts, self.bad)
            else:
                found = read_questions(files.questions, files.annotations, self.bad)
            if not found.questions:
                raise InputError(f"{files.questions} holds no question")
            self._read[files.word] = found
        return self._read[files.word]

    def published(self, word: str) -> SplitFiles:
        """The files of a published split by its word (`test2015`), or by `test` where only one begins so.

        Raises UsageError for another word.
        """
        found = [files for name, files in self.splits.items() if word in (name, files.split)]
        exact = [files for files in found if files.word == word]
        if len(exact or found) != 1:
            raise UsageError(f"{self.path} has no one split {word!r}; there are {', '.join(sorted(self.splits))}")
        return (exact or found)[0]

    def features(self, progress: Progress) -> FeatureBase:
        """What is in features/; raises what `open_features` raises."""
        if self._features is None:
            self._features = open_features(self.path / FEATURES, progress)
        return self._features

    def _answered(self, split: str) -> SplitFiles | None:
        """The published split of a kind that has answers; raises InputError when several have."""
        named = [files for files in self.splits.values() if files.split == split]
        found = [files for files in named if self.read(files).answered]
        if len(found) > 1:
            names = " and ".join(files.questions.name for files in found)
            raise InputError(f"{self.path} has several question files with answers for {split}: {names}; keep one")
        return found[0] if found else None

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The splits train, validation and test, no picture of which is in another one made of the same files.

        Scored is what has answers: test, or else val. What is missing then is taken from the pictures of train; where
        that has no answers, it is missing, too.

        Raises:
            InputError: nothing has answers, or there are too few pictures to take some away.
        """
        train, val, test = (self._answered(split) for split in ("train", "val", "test"))
        scored = test or val
        if train is None and scored is None:
            raise self._untrained
        wanted = {"validation": val if test is not None else None, "test": scored}
        made = {name: self._part(files) for name, files in wanted.items() if files is not None}
        if train is None:
            return made
        rest = self.read(train).questions
        for name in wanted:
            if name not in made:
                taken, rest = _carve(rest, self.path)
                made[name] = Part(taken, train.split, train.files)
        return {"train": Part(rest, train.split, train.files), **made}

    def part(self, split: str) -> Part:
        """One of `parts`; raises InputError when the folder has none for it."""
        if split not in self.parts:
            raise self._untrained
        return self.parts[split]

    @property
    def _untrained(self) -> InputError:
        return InputError(
            f"{self.path} has no training questions with answers; it needs a train_questions.json and, in VQA-v2's "
            "format, a train_annotations.json"
        )

    def _part(self, files: SplitFiles) -> Part:
        return Part(self.read(files).questions, files.split, files.files)

    @property
    def format(self) -> str:
        """The format of the question files; raises InputError when they differ."""
        formats = {found.format for found in self._read.values()}
        if len(formats) != 1:
            raise InputError(f"{self.path} mixes question files in several formats: {', '.join(sorted(formats))}")
        return formats.pop()

    def hashes(self, files: Sequence[Path]) -> dict[str, str]:
        """sha256 of files by their name in the folder."""
        return {path.relative_to(self.path).as_posix(): sha256_file(path) for path in files}


def _find(folder: Path) -> list[SplitFiles]:
    """The question files of a folder with their annotation files."""
    questions: dict[str, Path] = {}
    annotations: dict[str, Path] = {}
    parts = _divided(folder)
    files = (*folder.glob("*.json"), *folder.glob("questions/*.json"), *folder.glob("annotations/*.json"))
    for path in sorted((*files, *parts)):
        name = path.name.lower()
        kind = annotations if "annotation" in name else questions if "question" in name else None
        if kind is None:
            continue
        if not all(file.resolve().is_relative_to(folder.resolve()) for file in parts.get(path, (path,))):
            raise InputError(f"{path} is a link that leads out of the folder; put the file there")
        found = _WORD.search(name.replace("questions", "").replace("annotations", ""))
        word = found[0].rstrip("-") if found else "all"
        if word in kind:
            raise InputError(f"{folder} has two files for {word}: {kind[word].name} and {path.name}; keep one")
        kind[word] = path
    if not questions:
        raise UsageError(
            f"{folder} has no question file; it should hold train_questions.json, in VQA-v2's or GQA's format"
        )
    if lonely := sorted(annotations.keys() - questions.keys()):
        raise InputError(f"{annotations[lonely[0]]} has no question file beside it")
    return [SplitFiles(word, path, annotations.get(word), parts.get(path, ())) for word, path in questions.items()]


def _divided(folder: Path) -> dict[Path, tuple[Path, ...]]:
    """The folders that hold the parts of a question file, as GQA's `train_all_questions`; parts by their numbers."""
    found = {}
    for path in (*folder.glob("*question*/"), *folder.glob("questions/*question*/")):
        name = path.name.lower()
        parts = sorted(path.glob("*.json"), key=lambda part: ([*map(int, re.findall(r"\d+", part.stem))], part.name))
        if parts and _WORD.search(name.replace("questions", "")):
            found[path] = tuple(parts)
    return found


def _carve(questions: Sequence[Question], folder: Path) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """A share of the pictures with their questions, and the rest; by a hash of the id, so that order plays no part."""
    pictures = sorted(
        {question.image for question in questions}, key=lambda image: (sha256_bytes(image.encode()), image)
    )
    if len(pictures) < 2:
        raise InputError(
            f"{folder} has questions about {len(pictures)} pictures only; a split needs pictures of its own"
        )
    taken = set(pictures[: min(CARVED_PICTURES, max(1, len(pictures) // CARVED_SHARE))])
    return (
        tuple(question for question in questions if question.image in taken),
        tuple(question for question in questions if question.image not in taken),
    )
