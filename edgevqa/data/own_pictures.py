"""The pictures of a folder of a user's own data: where each is, how it is read, and which of them can be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.data.bad import BadEntries
from edgevqa.data.feature_bases import FeatureBase
from edgevqa.data.features import padded
from edgevqa.data.folder import IMAGES, DataFolder
from edgevqa.data.grids import WEIGHTS_SHA256, grid_arrays, kept_grid
from edgevqa.data.pictures import Arrays, LazyPictures, PictureFiles, Pictures, files_digest, keep_pixels
from edgevqa.data.preprocessing import open_picture, padded_pixels, pixels_of
from edgevqa.errors import InputError
from edgevqa.progress import Progress
from edgevqa.storage import cache_folder, read_json, write_json

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


class FolderPictures:
    """The pictures of a folder as a model takes them.

    Args:
        folder: the folder.
        split: the published split that the questions are of; its own pictures go before others of the same id.
        described: how pictures become inputs, the entry `picture` of the preprocessing.
        progress: told about long work.
    """

    def __init__(self, folder: DataFolder, split: str, described: Mapping[str, Any], progress: Progress) -> None:
        self._folder = folder
        self._split = split
        self._described = described
        self._progress = progress

    @cached_property
    def _features(self) -> FeatureBase:
        return self._folder.features(self._progress)

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self._folder.path / IMAGES, PICTURE_SUFFIXES)

    def _find(self, image: str) -> Any:
        base = self._features if self._described["kind"] == "features" else self._files
        return base.find(image, self._split)

    def _read(self, place: Any) -> Arrays:
        described = self._described
        if described["kind"] == "features":
            return padded(self._features.read(place), described, str(place))
        if described["kind"] == "grid":
            return grid_arrays(kept_grid(place), described["boxes"])
        if described["kind"] == "padded-pixels":
            return {"image": padded_pixels(open_picture(place), described)}
        return {"image": pixels_of(place, int(described["side"]))}

    def _digest(self, ids: Sequence[str], places: Sequence[Any]) -> str:
        """sha256 of what the pictures are."""
        kind = self._described["kind"]
        if kind == "features":
            files = self._features.files()
            return files_digest(files or places, "features" + "\n".join(ids if files else ()))
        how = {"grid": WEIGHTS_SHA256, "pixels": f"pixels {self._described.get('side')}"}
        return files_digest(places, how.get(kind, f"{kind} {self._described}"))

    def usable(self, ids: Iterable[str], bad: BadEntries) -> set[str]:
        """The ids whose pictures are there; where bad ones are left out they are also looked at, and must be whole.

        What is found of them is kept in the cache, since looking at all takes long. Raises InputError when a picture
        is missing and bad ones are not left out.
        """
        places: dict[str, Any] = {}
        for image in ids:
            try:
                places[image] = self._find(image)
            except InputError as error:
                bad.found(error)
        if not bad.skip or not places:
            return set(places)
        digest = self._digest(tuple(places), tuple(places.values()))
        kept = cache_folder() / "data" / "looked-at" / f"{digest}-{self._described['kind']}.json"
        broken = _kept(kept)
        if broken is None:
            broken = self._look_at(places)
            write_json(kept, broken)
        for message in broken.values():
            bad.found(InputError(message))
        return places.keys() - broken.keys()

    def _look_at(self, places: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with pictures, by id."""
        broken = {}
        self._progress.start("looking at all pictures", len(places))
        for image, place in places.items():
            try:
                self._read(place)
            except InputError as error:
                broken[image] = str(error)
            self._progress.step(image)
        self._progress.finish()
        return broken

    def open(self, ids: Sequence[str]) -> Mapping[str, np.ndarray] | Pictures:
        """The pictures of these ids; raises InputError when one is missing.

        Features are read when they are asked for: here it is only seen that they are there.
        """
        places = [self._find(image) for image in ids]
        if self._described["kind"] != "pixels":
            return LazyPictures(places, self._read, lambda: self._digest(ids, places))
        cache = cache_folder() / "data" / "own" / self._digest(ids, places)
        side = int(self._described["side"])
        files: list[Path] = places
        return {"image": keep_pixels(cache, files, lambda path: pixels_of(path, side), side, self._progress)}


def _kept(path: Path) -> dict[str, str] | None:
    """What was found wrong with pictures before; None when they were not looked at."""
    try:
        return {str(image): str(message) for image, message in read_json(path).items()}
    except (InputError, AttributeError):
        return None
