"""Pictures that are not in memory: where the files of a folder are, and what is read of them when it is asked for."""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevqa.errors import EnvironmentFailure, InputError
from edgevqa.progress import Progress
from edgevqa.storage import new_folder

Arrays = Mapping[str, np.ndarray]

HELD_BYTES = 64 << 20
"""What a `LazyPictures` keeps in memory at most, beside the rows that were asked for."""
SPLIT_FOLDERS = ("train", "val", "test")
_NUMBER = re.compile(r"(?:^|_)(\d{1,18})$", re.ASCII)


class Pictures(Protocol):
    """Pictures by row, as `Split.images` may hold them in place of arrays."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of some pictures, stacked along a first dimension."""

    def digest(self) -> str:
        """sha256 of what the pictures are."""


class LazyPictures:
    """Pictures whose arrays are read one by one, and of which only the last few stay in memory.

    Args:
        places: where each row is, for `read_one`.
        read_one: the arrays of one picture, of equal shapes for all.
        identify: sha256 of what the pictures are; called when it is asked for.
        held_bytes: what stays in memory at most; a picture that takes more is not kept.
    """

    def __init__(
        self,
        places: Sequence[Any],
        read_one: Callable[[Any], Arrays],
        identify: Callable[[], str],
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self._places = tuple(places)
        self._read_one = read_one
        self._identify = identify
        self._limit = held_bytes
        self._held: OrderedDict[int, Arrays] = OrderedDict()
        self.held = 0
        """Bytes in memory now."""

    def __len__(self) -> int:
        return len(self._places)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of the pictures at `rows`, stacked; a picture that occurs often is read once."""
        places, where = np.unique(rows, return_inverse=True)
        stacked: dict[str, np.ndarray] = {}
        for number, place in enumerate(places.tolist()):
            found = self._one(place)
            chosen = where == number
            for name, array in found.items():
                if name not in stacked:
                    stacked[name] = np.empty((len(rows), *array.shape), array.dtype)
                stacked[name][chosen] = array
        return stacked

    def _one(self, place: int) -> Arrays:
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        found = self._read_one(self._places[place])
        size = sum(array.nbytes for array in found.values())
        if size <= self._limit:
            self._held[place] = found
            self.held += size
        while self.held > self._limit:
            _place, dropped = self._held.popitem(last=False)
            self.held -= sum(array.nbytes for array in dropped.values())
        return found

    def digest(self) -> str:
        """sha256 of what the pictures are."""
        return self._identify()


def files_digest(files: Sequence[Path], identity: str) -> str:
    """sha256 of the paths, sizes and times of files; raises InputError when one is gone."""
    digest = hashlib.sha256(identity.encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        digest.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns}\n"))
    return digest.hexdigest()


class PictureFiles:
    """The files of a folder by the id of the picture that they are of.

    A file's id is its name up to the first dot (`n578564.npz`), or the number after the last `_` there
    (`COCO_train2014_000000458752.jpg`). Files below a folder whose name begins with train, val or test are of that
    split and go before others there.

    Args:
        folder: the folder; it may be a link, but nothing in it may lead out of it.
        suffixes: of the files that count, lower case, with the dot.

    Raises:
        InputError: there is no such folder, no such file in it, or a link in it leads out.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        self.folder = folder
        self._by_id: dict[str, dict[str, list[Path]]] = {}
        self.count = 0
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
        root = folder.resolve()
        for parent, folders, names in os.walk(root):
            split = next((name for name in _split_words(Path(parent).relative_to(root))), "")
            files = [name for name in names if name.lower().endswith(tuple(suffixes))]
            for name in (*folders, *files):
                path = Path(parent, name)
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    raise InputError(f"{folder}: the link {path.relative_to(root)} leads out of the folder")
            for name in files:
                path = Path(parent, name)
                for key in picture_ids(name):
                    self._by_id.setdefault(key, {}).setdefault(split, []).append(path)
                self.count += 1
        if not self.count:
            raise InputError(f"{folder} holds no file that ends in {', '.join(suffixes)}")

    def find(self, image: str, split: str) -> Path:
        """The file of a picture; raises InputError when there is none, or several."""
        by_split = self._by_id.get(image, {})
        found = by_split.get(split) or [path for paths in by_split.values() for path in paths]
        if not found:
            raise InputError(f"{self.folder} has no file of the picture {image!r} that a {split} question is about")
        if len(found) > 1:
            root = self.folder.resolve()
            names = " and ".join(str(path.relative_to(root)) for path in sorted(found)[:2])
            raise InputError(f"{self.folder} has several files of the picture {image!r}: {names}")
        return found[0]


def _split_words(path: Path) -> list[str]:
    """The splits that the folders of a path are named after."""
    return [word for part in path.parts for word in SPLIT_FOLDERS if part.lower().startswith(word)]


def picture_ids(name: str) -> set[str]:
    """The ids of the picture that a file of this name may be of."""
    stem = name.split(".", 1)[0]
    number = _NUMBER.search(stem)
    return {stem} if number is None else {stem, str(int(number[1]))}


def keep_pixels(
    cache: Path, files: Sequence[Path], read_one: Callable[[Path], np.ndarray], side: int, progress: Progress
) -> np.ndarray:
    """The pixels of pictures as uint8 (m, 3, side, side), kept in a file and mapped into memory, not read into it.

    Args:
        cache: a folder of its own for these pictures; what is there already is not made again.
        files: the pictures, in the order of the rows.
        read_one: the pixels of one, uint8 (3, side, side).
        side: height and width.
        progress: told about every picture.

    Raises:
        InputError: a picture cannot be read.
        EnvironmentFailure: the cache cannot be written.
    """
    path = cache / "pixels.npy"
    shape = (len(files), 3, side, side)
    kept = _map(path)
    if kept is None or kept.shape != shape:
        progress.start("reading pictures", len(files))
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        with new_folder(cache) as folder, (folder / path.name).open("wb") as stream:
            # Written, not mapped: on a full disk a mapping would end the process.
            np.lib.format.write_array_header_1_0(stream, header)
            for file in files:
                stream.write(np.ascontiguousarray(read_one(file), np.uint8).tobytes())
                progress.step("pictures")
        progress.finish()
        kept = _map(path)
    if kept is None:
        raise EnvironmentFailure(f"{path} cannot be read back; remove it and try again")
    return kept


def _map(path: Path) -> np.ndarray | None:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint8 else None
