"""What every dataset hands on: splits of questions over pictures, their words and their answers."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.data.pictures import Pictures
from edgevqa.data.score import ACCURACY, AnswerKey
from edgevqa.data.text import question_mask, region_mask
from edgevqa.data.word_pieces import Words
from edgevqa.errors import UsageError
from edgevqa.progress import Progress, Silent
from edgevqa.storage import cache_folder, write_bytes

SPLITS = ("train", "validation", "test")
ROWS_AT_ONCE = 4096
UNCHANGED: Mapping[str, float] = {"mean": 0.0, "deviation": 1.0}


@dataclass(frozen=True, eq=False)
class Split:
    """Questions with their answers, over pictures that are stored once.

    Attributes:
        name: dataset and split, such as "scenes/test".
        texts: the n questions.
        tokens: int32 (n, T).
        answers: int64 (n,), places in the dataset's answers; -1 where the right one is not among them.
        types: the question family of each question.
        image_index: int64 (n,), the row of `images` that each question is about.
        images: {"regions" float32 (m, R, F), "boxes" float32 (m, R, 5), "region_count" int64 (m,)} or
            {"image" uint8 (m, 3, H, W), or float32 and normalised}, or the same read when asked for.
        grounding: where the data says it, uint8 (n, R): bit 0 is set where a region fits the first description of
            the question ("red square" in "how many red squares are left of the circle"), bit 1 where it fits the
            second, bit 2 where it stands to the second's thing as the question asks (left of the circle); else
            None. Training may use it, and no model input holds it.
        normalisation: for pixels, {"mean", "deviation"} of the values in 0..1.
        ids: the questions' ids in the files that they come from; none for made ones.
        groups: by name, a group of each question that scores are told apart by.
        worth: what each answer scores where that is more than right or wrong, see `key`.
        soft: what each answer is trained towards, likewise.
    """

    name: str
    texts: tuple[str, ...]
    tokens: np.ndarray
    answers: np.ndarray
    types: tuple[str, ...]
    image_index: np.ndarray
    images: Mapping[str, np.ndarray] | Pictures
    normalisation: Mapping[str, float] = field(default_factory=lambda: UNCHANGED)
    grounding: np.ndarray | None = None
    ids: tuple[int | str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    worth: AnswerKey | None = None
    soft: AnswerKey | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def key(self) -> AnswerKey:
        """What each answer scores; the kind of the score is the key's."""
        return AnswerKey.one_right(self.answers) if self.worth is None else self.worth

    def targets(self, indices: np.ndarray, answers: int) -> np.ndarray:
        """What is trained towards: the right answers int64 (b,), or what all A are worth, float32 (b, A)."""
        return self.answers[indices] if self.soft is None else self.soft.take(indices).dense(answers)

    @property
    def picture_count(self) -> int:
        """How many pictures there are."""
        return len(next(iter(self.images.values())) if isinstance(self.images, Mapping) else self.images)

    @cached_property
    def question_bytes(self) -> int:
        """What the inputs of one question take."""
        return sum(array.nbytes for array in self.model_inputs([0]).values()) if len(self) else 0

    def digest(self) -> str:
        """sha256 of the questions, their pictures and their answers."""
        digest = hashlib.sha256(self.name.encode())
        arrays = [self.tokens, self.answers, self.image_index]
        if isinstance(self.images, Mapping):
            arrays += [self.images[name] for name in sorted(self.images)]
        else:
            digest.update(self.images.digest().encode())
        if self.worth is not None:
            digest.update(self.worth.digest().encode())
        for array in arrays:
            digest.update(f"{array.dtype}{array.shape}".encode())
            for start in range(0, len(array), ROWS_AT_ONCE):
                digest.update(np.ascontiguousarray(array[start : start + ROWS_AT_ONCE]).tobytes())
        return digest.hexdigest()

    def model_inputs(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The model's inputs for the questions at `indices`, stacked along a first dimension b.

        question int32 (b, T), question_mask float32 (b, 1, 1, T), and either regions float32 (b, R, F),
        region_mask float32 (b, 1, 1, R), boxes float32 (b, R, 5), or image float32 (b, 3, H, W), normalised.
        """
        rows = np.asarray(indices, np.int64)
        pictures = self.image_index[rows]
        tokens = self.tokens[rows]
        inputs = {"question": tokens, "question_mask": question_mask(tokens)}
        if isinstance(self.images, Mapping):
            found = {name: array[pictures] for name, array in self.images.items()}
        else:
            found = self.images.read(pictures)
        if "image" in found:
            image = found["image"]
            inputs["image"] = normalise(image, self.normalisation) if image.dtype == np.uint8 else image
        else:
            inputs["regions"] = found["regions"]
            inputs["region_mask"] = region_mask(found["region_count"], found["regions"].shape[1])
            if "boxes" in found:
                inputs["boxes"] = found["boxes"]
        return inputs


def normalise(image: np.ndarray, normalisation: Mapping[str, Any]) -> np.ndarray:
    """uint8 pixels (b, 3, H, W) to float32: (x / 255 - mean) / deviation, of all channels alike or of each.

    Raises ZeroDivisionError for a deviation of 0.
    """
    mean, deviation = (np.asarray(normalisation[name], np.float64).reshape(-1, 1, 1) for name in ("mean", "deviation"))
    if not deviation.all():
        raise ZeroDivisionError("a deviation is 0")
    scale = (1.0 / (255.0 * deviation)).astype(np.float32)
    return np.asarray(image.astype(np.float32) * scale - (mean / deviation).astype(np.float32))


@dataclass(frozen=True)
class Dataset:
    """A dataset with the vocabularies and the preprocessing that its models need.

    Attributes:
        name, version, seed: which data; another version or seed is other data.
        vocabulary: the words of its questions.
        answers: the answers, a label's number is its place.
        preprocessing: JSON-able; with the vocabulary it turns a picture and a question into model inputs.
        card: JSON-able description: source, sizes, families, answers.
        question_length: T, the tokens that a question has room for.
        score: the kind of its score.
        source: where data of a user's own comes from, JSON-able; a checkpoint keeps it, see `described`.
        grounded: whether its splits say which regions a question is about; a cached one that does not is made anew.
        view: what a split is turned into when it is handed out, see `edgevqa.data.forms`.
    """

    name: str
    version: int
    seed: int
    vocabulary: Words
    answers: tuple[str, ...]
    preprocessing: dict[str, Any]
    card: dict[str, Any]
    question_length: int
    make_split: Callable[[str, Progress], Split] = field(repr=False, compare=False)
    score: str = ACCURACY
    source: Mapping[str, Any] | None = None
    grounded: bool = field(default=False, compare=False)
    view: Callable[[Split], Split] | None = field(default=None, repr=False, compare=False)
    _loaded: dict[str, Split] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def described(self) -> dict[str, Any]:
        """Which data it is, as a checkpoint keeps it."""
        known = {"name": self.name, "version": self.version, "seed": self.seed}
        return known if self.source is None else {**known, "score": self.score, "source": dict(self.source)}

    def split(self, name: str, progress: Progress | None = None) -> Split:
        """The split "train", "validation" or "test": from memory, from the cache on disk, or made now.

        Data of a user's own is read from its files each time.

        Raises UsageError for another name, EnvironmentFailure when the cache cannot be written.
        """
        if name not in SPLITS:
            raise UsageError(f"{self.name} has the splits {', '.join(SPLITS)}, not {name!r}")
        if name not in self._loaded and self.source is not None:
            self._loaded[name] = self.make_split(name, progress or Silent())
        if name not in self._loaded:
            path = cache_folder() / "data" / f"{self.name}-v{self.version}" / f"{name}.npz"
            split = read_split(path, self, name)
            if split is None:
                split = self.make_split(name, progress or Silent())
                write_split(path, split, self.seed)
            self._loaded[name] = split if self.view is None else self.view(split)
        return self._loaded[name]


def load_dataset(name: str) -> Dataset:
    """The dataset "scenes", "scenes-pixels" or "easy-vqa"; its splits are made when first asked for.

    Raises UsageError for another name, MissingExtra when easy-VQA's package is not installed.
    """
    if name in ("scenes", "scenes-pixels"):
        from edgevqa.data.scenes import scenes_dataset

        return scenes_dataset(name)
    if name == "easy-vqa":
        from edgevqa.data.easy_vqa import easy_vqa_dataset

        return easy_vqa_dataset()
    raise UsageError(f"there is no dataset {name!r}; there are scenes, scenes-pixels and easy-vqa")


def reworded(split: Split, own: Words, vocabulary: Words, length: int | None = None) -> Split:
    """The same questions as another vocabulary than the dataset's `own` encodes them, in as many tokens or `length`."""
    if vocabulary == own:
        return split
    length = split.tokens.shape[1] if length is None else length
    texts = sorted(set(split.texts))
    places = {text: place for place, text in enumerate(texts)}
    encoded = np.stack([vocabulary.encode(text, length).tokens for text in texts])
    return replace(split, tokens=encoded[[places[text] for text in split.texts]])


def write_split(path: Path, split: Split, seed: int) -> None:
    """Save a split as .npz, atomically; equal splits give equal bytes. Each string is stored once."""
    assert isinstance(split.images, Mapping)
    strings = sorted(set(split.texts))
    numbers = {text: number for number, text in enumerate(strings)}
    families = sorted(set(split.types))
    first = {text: row for row, text in reversed(list(enumerate(split.texts)))}
    stream = io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        seed=np.int64(seed),
        strings=np.frombuffer("\n".join(strings).encode(), np.uint8),
        string_tokens=split.tokens[[first[text] for text in strings]],
        string_index=np.array([numbers[text] for text in split.texts], np.int32),
        families=np.array(families),
        family_index=np.array([families.index(family) for family in split.types], np.int8),
        answers=split.answers,
        image_index=split.image_index,
        **({} if split.grounding is None else {"grounding": split.grounding}),
        **{f"images.{name}": array for name, array in split.images.items()},
    )
    write_bytes(path, stream.getvalue())


def read_split(path: Path, dataset: Dataset, name: str) -> Split | None:
    """The split that `write_split` saved, or None: it is not there, is damaged, has another seed or lacks grounding."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {key: stored[key] for key in stored.files}
        if int(values["seed"]) != dataset.seed or (dataset.grounded and "grounding" not in values):
            return None
        strings = values["strings"].tobytes().decode().split("\n")
        families = [str(family) for family in values["families"]]
        return Split(
            name=f"{dataset.name}/{name}",
            texts=tuple(strings[number] for number in values["string_index"].tolist()),
            tokens=values["string_tokens"][values["string_index"]],
            answers=values["answers"],
            types=tuple(families[number] for number in values["family_index"].tolist()),
            image_index=values["image_index"],
            images={key[7:]: value for key, value in values.items() if key.startswith("images.")},
            normalisation=dataset.preprocessing["picture"].get("normalisation", UNCHANGED),
            grounding=values.get("grounding"),
        )
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error, EOFError):
        return None
