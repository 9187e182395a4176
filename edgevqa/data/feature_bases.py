"""Files that hold the features of many pictures: LXMERT's TSV and UNITER's LMDB, read one picture at a time.

LXMERT's fields are img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes and features,
the original bottom-up ones image_id, image_w, image_h, num_boxes, boxes and features; arrays are float32 in base64.
UNITER's values are .npz files, or msgpack with arrays as msgpack-numpy writes them.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevqa.data.features import (
    MOST_REGIONS,
    RegionFeatures,
    checked,
    features_of,
    read_npz_features,
    with_area,
)
from edgevqa.data.npz import MAXIMUM_FEATURE_BYTES, check_size, finite
from edgevqa.data.pictures import PictureFiles, files_digest, picture_ids
from edgevqa.errors import InputError, MissingExtra
from edgevqa.progress import Progress
from edgevqa.storage import cache_folder, read_json, write_json

LXMERT = (
    "img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
    "features",
)  # fmt: skip
BOTTOM_UP = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
LONGEST_LINE = 2 * MAXIMUM_FEATURE_BYTES
FEATURE_SUFFIXES = (".npz",)


class FeatureBase(Protocol):
    """The features of pictures, read when asked for."""

    def find(self, image: str, split: str) -> object:
        """What `read` needs to find a picture again; raises InputError when there is none."""

    def read(self, place: Any) -> RegionFeatures:
        """The features of a picture; raises InputError when they are damaged."""

    def files(self) -> list[Path]:
        """The files that hold them, or none where each picture has its own."""


class NpzFeatures:
    """A folder with one .npz file for each picture."""

    def __init__(self, folder: Path) -> None:
        self._files = PictureFiles(folder, FEATURE_SUFFIXES)

    def find(self, image: str, split: str) -> Path:
        """The file of a picture."""
        return self._files.find(image, split)

    def read(self, place: Path) -> RegionFeatures:
        """The features in a file."""
        return read_npz_features(place)

    def files(self) -> list[Path]:
        """None: each picture has its own."""
        return []


class TsvFeatures:
    """TSV files, whose lines are looked up once and then read where they lie.

    Raises InputError when a line is no picture's, or a picture is there twice.
    """

    def __init__(self, paths: list[Path], progress: Progress) -> None:
        self._paths = paths
        kept = cache_folder() / "data" / "tsv" / f"{files_digest(paths, 'tsv')}.json"
        self._places = _kept_places(kept)
        if not self._places:
            self._look_up(progress)
            write_json(kept, self._places)

    def _look_up(self, progress: Progress) -> None:
        paths = self._paths
        progress.start("looking pictures up", sum(path.stat().st_size for path in paths))
        for number, path in enumerate(paths):
            with path.open("rb") as stream:
                while True:
                    start = stream.tell()
                    line = stream.readline(LONGEST_LINE)
                    if not line:
                        break
                    if len(line) == LONGEST_LINE:
                        raise InputError(f"{path} has a line of more than {LONGEST_LINE >> 20} MiB")
                    image = line.partition(b"\t")[0].decode("utf-8", "replace").strip()
                    for key in picture_ids(image):
                        if self._places.setdefault(key, (number, start)) != (number, start):
                            raise InputError(f"{path} holds the picture {image[:80]!r} a second time")
                    progress.step(path.name, len(line))
        progress.finish()

    def find(self, image: str, split: str) -> tuple[int, int]:
        """Number of the file and offset of a picture's line."""
        if image not in self._places:
            names = ", ".join(path.name for path in self._paths)
            raise InputError(f"{names} has no line of the picture {image!r} that a {split} question is about")
        return self._places[image]

    def read(self, place: tuple[int, int]) -> RegionFeatures:
        """The features in a line."""
        number, start = place
        with self._paths[number].open("rb") as stream:
            stream.seek(start)
            return parse_tsv_line(stream.readline(LONGEST_LINE), f"{self._paths[number]}, byte {start}")

    def files(self) -> list[Path]:
        """The TSV files."""
        return self._paths


def _kept_places(path: Path) -> dict[str, tuple[int, int]]:
    """The places of pictures as they were found before, or none."""
    try:
        return {str(image): (int(number), int(start)) for image, (number, start) in read_json(path).items()}
    except (InputError, ValueError, TypeError, AttributeError):
        return {}


def parse_tsv_line(line: bytes, source: str) -> RegionFeatures:
    """The features in a line of LXMERT's or of the original bottom-up TSV; raises InputError that names `source`."""
    values = line.rstrip(b"\r\n").split(b"\t")
    fields = {len(LXMERT): LXMERT, len(BOTTOM_UP): BOTTOM_UP}.get(len(values))
    if fields is None:
        raise InputError(f"{source} has {len(values)} fields; {len(LXMERT)} (LXMERT) or {len(BOTTOM_UP)} are needed")
    entry = dict(zip(fields, values, strict=True))
    numbers = {}
    for names in (("num_boxes",), ("img_w", "image_w"), ("img_h", "image_h")):
        text = next(entry[name] for name in names if name in entry)
        if not text.isdigit() or len(text) > 6:
            raise InputError(f"{source}: {names[0]} should be a number, not {text[:40]!r}")
        numbers[names[0]] = int(text)
    count = numbers["num_boxes"]
    if not 0 < count <= MOST_REGIONS:
        raise InputError(f"{source} holds {count} regions; 1 to {MOST_REGIONS} are read")
    boxes = _decoded(entry["boxes"], count, "boxes", source)
    features = _decoded(entry["features"], count, "features", source)
    return checked(features, with_area(boxes, numbers["img_w"], numbers["img_h"], source), source)


def _decoded(text: bytes, rows: int, key: str, source: str) -> np.ndarray:
    """Numbers float32 (rows, k) in base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{source}: {key} is not base64") from None
    if not content or len(content) % (4 * rows):
        raise InputError(f"{source}: {key} holds {len(content)} bytes, which is not float32 for {rows} regions")
    return finite(np.frombuffer(content, "<f4").reshape(rows, -1), key, source)


class LmdbFeatures:
    """A UNITER data base: a folder with a data.mdb, read through memory that the system maps.

    Raises MissingExtra without the package lmdb, InputError when it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import lmdb
        except ImportError:
            raise MissingExtra("lmdb", "features") from None
        self._folder = folder
        try:
            self._base = lmdb.open(str(folder), readonly=True, lock=False, create=False, max_readers=8)
            with self._base.begin() as reading, reading.cursor() as cursor:
                self._keys: dict[str, bytes] = {}
                for key in cursor.iternext(values=False):
                    for image in picture_ids(bytes(key).decode("utf-8", "replace")):
                        if image != "__keys__" and self._keys.setdefault(image, bytes(key)) != bytes(key):
                            raise InputError(f"{folder} holds the picture {image!r} a second time")
        except lmdb.Error as error:
            raise InputError(f"{folder} is not a readable LMDB: {error}") from None

    def find(self, image: str, split: str) -> bytes:
        """The key of a picture."""
        if image not in self._keys:
            raise InputError(f"{self._folder} has no picture {image!r} that a {split} question is about")
        return self._keys[image]

    def read(self, place: bytes) -> RegionFeatures:
        """The features under a key."""
        source = f"{self._folder}, {place.decode('utf-8', 'replace')}"
        with self._base.begin(buffers=True) as reading:
            found = reading.get(place)
            if found is None or len(found) > 2 * MAXIMUM_FEATURE_BYTES:
                raise InputError(f"{source} is gone or takes more than {2 * MAXIMUM_FEATURE_BYTES >> 20} MiB")
            content = bytes(found)
        if content[:2] == b"PK":
            return read_npz_features(io.BytesIO(content), source)
        return features_of(unpacked(content, source), source)

    def files(self) -> list[Path]:
        """The file of the data base."""
        return [self._folder / "data.mdb"]


def unpacked(content: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays of a msgpack message as msgpack-numpy writes them; raises InputError that names `source`."""
    try:
        import msgpack
    except ImportError:
        raise MissingExtra("msgpack", "features") from None

    def array(entry: Mapping[Any, Any]) -> Any:
        known = {key.decode() if isinstance(key, bytes) else key: value for key, value in entry.items()}
        if known.get("nd") is not True:
            return known
        described = known["type"]
        kind = np.dtype(described if isinstance(described, str) else described.decode())
        if kind.hasobject:
            raise ValueError("an array of objects")
        shape = tuple(int(size) for size in known["shape"])
        check_size(shape, kind, "an array", source)
        return np.frombuffer(known["data"], kind).reshape(shape)

    try:
        found = msgpack.unpackb(content, object_hook=array, raw=False, strict_map_key=False)
        return {str(key): value for key, value in found.items() if isinstance(value, np.ndarray)}
    except InputError:
        raise
    except Exception as error:  # msgpack and numpy raise many kinds on damaged messages
        raise InputError(f"{source} is neither .npz nor msgpack: {' '.join(str(error).split())[:200]}") from None


@functools.cache
def _open_lmdb(folder: Path) -> LmdbFeatures:
    """A data base, which a process can open only once."""
    return LmdbFeatures(folder)


def open_features(folder: Path, progress: Progress) -> FeatureBase:
    """The features in a folder: a data.mdb, .tsv files, or .npz files in it or below it.

    Raises InputError when there is none of them, or a link leads out of the folder.
    """
    bases = sorted(path.parent for path in (*folder.glob("data.mdb"), *folder.glob("*/data.mdb")))
    tables = sorted(folder.glob("*.tsv"))
    for path in (*bases, *tables):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link that leads out of the folder")
    if len(bases) > 1:
        raise InputError(f"{folder} holds several LMDBs: {bases[0].name} and {bases[1].name}; keep one")
    if bases:
        return _open_lmdb(bases[0].resolve())
    return TsvFeatures(tables, progress) if tables else NpzFeatures(folder)
