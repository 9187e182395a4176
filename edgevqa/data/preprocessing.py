"""From a user's picture or features and question to the inputs of an artifact, without torch.

Everything comes from the preprocessing dict of the dataset (kept in checkpoints and manifests):

    question: {rule: "openvqa", length: T, synonyms?: {a user's word: the model's word}}
              {rule: "word-pieces", length: T, lower_case: whether the model is an uncased one}
    picture:  {kind: "plain-regions", working_side, regions: R, features: F, boxes: B}       (B is 0, 5, or UNITER's 7)
              {kind: "pixels", side, normalisation: {mean, deviation}}
              {kind: "padded-pixels", height, width, normalisation}      (scaled to fit, zeros to the right and below)
              {kind: "grid", backbone, side, regions: R, features: F, boxes: B, grid?: [rows, columns]}
              {kind: "features", regions: R, features: F, boxes: B, grid?: [rows, columns]}
                                                       (no pictures: features are brought; those of a grid are whole)
    probabilities?: "sigmoid" where each answer has one of its own; else they are a softmax over all answers
    missing?: of "vocabulary", "answers": the lists that only hold placeholders, so that no question can be asked
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgevqa.data.dataset import normalise
from edgevqa.data.features import BOX_NUMBERS, UNITER_BOX_NUMBERS, as_boxes, padded, read_npz_features
from edgevqa.data.grids import grid_arrays, grid_of
from edgevqa.data.npz import array_names, finite, read_arrays
from edgevqa.data.regions import find_regions
from edgevqa.data.text import EncodedQuestion, question_mask, region_mask
from edgevqa.data.word_pieces import Words
from edgevqa.errors import InputError

MISSING = "missing"
MAXIMUM_PIXELS = 50_000_000
MOST_PIXELS = f"at most {MAXIMUM_PIXELS // 10**6} million are read, so scale it down"
PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


def encode_question(text: str, vocabulary: Words, preprocessing: Mapping[str, Any]) -> EncodedQuestion:
    """A question's tokens, with the words that the model does not know; synonyms are replaced first.

    Raises InputError when the question holds no word.
    """
    words = vocabulary.split(text)
    if not words:
        raise InputError("the question is empty; ask something like: is there a red circle?")
    question = preprocessing["question"]
    synonyms = question.get("synonyms", {})
    return vocabulary.encode(" ".join(synonyms.get(word, word) for word in words), question["length"])


def question_inputs(text: str, vocabulary: Words, preprocessing: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A question as the model's inputs, batch 1: question int32 (1, T), question_mask float32 (1, 1, 1, T).

    Unknown words become UNKNOWN; `encode_question` names them. Raises InputError for an empty question.
    """
    tokens = encode_question(text, vocabulary, preprocessing).tokens[None]
    return {"question": tokens, "question_mask": question_mask(tokens)}


def picture_inputs(path: Path | str, preprocessing: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A picture as the model's inputs, batch 1: regions, region_mask and boxes, or image.

    Raises InputError, in one line, for a picture that is missing, unreadable, truncated, too large or of a
    wrong type, and for one in which the region finder sees nothing or too much.
    """
    path = Path(path)
    picture = preprocessing["picture"]
    if picture["kind"] == "features":
        raise InputError(f"this model takes region features (.npz), not a picture such as {path}")
    if picture["kind"] == "pixels":
        return {"image": normalise(pixels_of(path, picture["side"])[None], picture["normalisation"])}
    opened = open_picture(path)
    if picture["kind"] == "padded-pixels":
        return {"image": padded_pixels(opened, picture)[None]}
    if picture["kind"] == "grid":
        arrays = grid_arrays(grid_of(opened), picture["boxes"])
        mask = region_mask(arrays.pop("region_count")[None], picture["regions"])
        return {**{key: values[None] for key, values in arrays.items()}, "region_mask": mask}
    scale = picture["working_side"] / max(opened.size)
    if scale < 1:
        smaller = tuple(max(1, round(side * scale)) for side in opened.size)
        opened = opened.resize((smaller[0], smaller[1]), Image.Resampling.BOX)
    found = find_regions(np.asarray(opened, np.uint8))
    most = picture["regions"] - 1
    expects = f"this model expects 1 to {most} plain, separate shapes on an even background"
    if found.found == 0:
        raise InputError(f"found nothing in {path}: {expects}")
    if found.found > most:
        raise InputError(f"found {found.found} things in {path}: {expects}")
    inputs = {
        "regions": found.regions[None],
        "region_mask": region_mask(np.array([found.count]), picture["regions"]),
    }
    return {**inputs, "boxes": as_boxes(found.boxes[None], picture["boxes"])} if picture["boxes"] else inputs


def pixels_of(path: Path, side: int) -> np.ndarray:
    """A picture file as uint8 (3, side, side), whatever its shape was; raises what `open_picture` raises."""
    small = open_picture(path).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.uint8).transpose(2, 0, 1)


def padded_pixels(opened: Image.Image, picture: Mapping[str, Any]) -> np.ndarray:
    """A picture float32 (3, height, width), scaled to fit and normalised, with zeros to its right and below it."""
    height, width = picture["height"], picture["width"]
    scale = min(width / opened.width, height / opened.height)
    fitting = max(1, min(width, round(opened.width * scale))), max(1, min(height, round(opened.height * scale)))
    pixels = np.asarray(opened.resize(fitting, Image.Resampling.BICUBIC), np.uint8).transpose(2, 0, 1)
    image = np.zeros((3, height, width), np.float32)
    image[..., : fitting[1], : fitting[0]] = normalise(pixels[None], picture["normalisation"])[0]
    return image


def open_picture(path: Path) -> Image.Image:
    """A picture file as upright 8-bit RGB, transparency on white; its size is checked before it is decoded.

    Raises InputError for what cannot be read.
    """
    if not os.path.exists(path):
        raise InputError(f"the picture {path} does not exist")
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file; give a picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of Pillow's warnings becomes an error here
            with Image.open(path, formats=PICTURE_FORMATS) as opened:
                return _decode(opened, path)
    except InputError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(PICTURE_FORMATS)
        raise InputError(f"{path} is not a picture that can be read ({known})") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} has far too many pixels; {MOST_PIXELS}") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise InputError(f"cannot read the picture {path}: {error}") from None


def _decode(opened: Image.Image, path: Path) -> Image.Image:
    """The pixels of an opened picture whose size is acceptable, see `open_picture`."""
    width, height = opened.size
    if width * height > MAXIMUM_PIXELS:
        raise InputError(f"{path} has {width} x {height} pixels; {MOST_PIXELS}")
    if opened.mode.startswith(("I", "F")):
        raise InputError(f"{path} has more than 8 bits a channel; save it as 8-bit RGB")
    upright = ImageOps.exif_transpose(opened)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layered)
    return upright.convert("RGB")


def feature_inputs(path: Path | str, preprocessing: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Features from an .npz file as the model's inputs, batch 1.

    For regions the file holds `regions` (n, F) and `boxes` (n, B) with 1 <= n <= R; zero rows at the end
    count as padding, but for a grid, which is whole; files of openvqa and UNITER are understood, too. For pixels it
    holds `image` (3, side, side), or (3, height, width); uint8 is normalised, floats are not.
    Raises InputError for a missing, damaged or oversized file, wrong shapes and values that are not finite.
    """
    path = Path(path)
    picture = preprocessing["picture"]
    if picture["kind"] in ("pixels", "padded-pixels"):
        shape = (3, picture.get("height", picture.get("side")), picture.get("width", picture.get("side")))
        image = _needed(path, ("image",))["image"]
        if image.shape != shape:
            raise InputError(f"image in {path} has the shape {image.shape}; this model takes {shape}")
        if image.dtype == np.uint8:
            return {"image": normalise(image[None], picture["normalisation"])}
        return {"image": finite(image, "image", path)[None]}

    names = array_names(path)
    if "regions" not in names and {"x", "features"} & names:
        stacked = {key: values[None] for key, values in padded(read_npz_features(path), picture, str(path)).items()}
        mask = region_mask(stacked.pop("region_count"), picture["regions"])
        return {**stacked, "region_mask": mask}
    keys = ("regions", "boxes") if picture["boxes"] else ("regions",)
    arrays = _needed(path, keys)
    widths = {"regions": picture["features"], "boxes": picture["boxes"]}
    if (picture["boxes"], arrays.get("boxes", np.empty(0)).shape[1:]) == (UNITER_BOX_NUMBERS, (BOX_NUMBERS,)):
        arrays["boxes"] = as_boxes(arrays["boxes"], UNITER_BOX_NUMBERS)
    for key in keys:
        if arrays[key].ndim != 2 or arrays[key].shape[1] != widths[key]:
            raise InputError(f"{key} in {path} has the shape {arrays[key].shape}; this model takes (n, {widths[key]})")
        if len(arrays[key]) != len(arrays["regions"]):
            raise InputError(f"{path} has {len(arrays['regions'])} regions but {len(arrays[key])} boxes")
        arrays[key] = finite(arrays[key], key, path)
    filled = np.flatnonzero(arrays["regions"].any(axis=1))
    count = int(filled[-1]) + 1 if len(filled) else 0
    if count and "grid" in picture:
        count = len(arrays["regions"])
        if count != picture["regions"]:
            rows, columns = picture["grid"]
            raise InputError(f"{path} holds {count} grid features; this model takes {rows} x {columns}, row by row")
    if count == 0:
        raise InputError(f"{path} holds no regions (no row, or only zeros)")
    if count > picture["regions"]:
        raise InputError(f"{path} holds {count} regions; this model takes at most {picture['regions']}")
    inputs = {}
    for key in keys:
        inputs[key] = np.zeros((1, picture["regions"], widths[key]), np.float32)
        inputs[key][0, :count] = arrays[key][:count]
    inputs["region_mask"] = region_mask(np.array([count]), picture["regions"])
    return inputs


def _needed(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of an .npz file that must all be there."""
    arrays = read_arrays(path, keys)
    for key in keys:
        if key not in arrays:
            raise InputError(f"{path} has no array {key!r}; this model needs {', '.join(keys)}")
    return arrays
