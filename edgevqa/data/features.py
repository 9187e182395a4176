"""Region features as each project publishes them, one picture at a time.

openvqa, VQA-v2     .npz  x (2048, n), bbox (n, 4) in pixels, image_h, image_w
openvqa, GQA        .npz  x (n, 2048), bbox (n, 4) in pixels, width, height; for grids x alone
UNITER              .npz  features (n, 2048), norm_bb (n, 7), conf (n,); also in LMDB, see `feature_bases`
edgevqa             .npz  regions (n, F), boxes (n, 5)
LXMERT              .tsv  see `feature_bases`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgevqa.data.npz import finite, read_arrays
from edgevqa.errors import InputError

BOX_NUMBERS = 5
"""Of a box as models take it: x1, y1, x2, y2 and area, relative to the picture."""
UNITER_BOX_NUMBERS = 7
"""Of a box as UNITER takes it: x1, y1, x2, y2, width, height and area, relative to the picture."""
MOST_REGIONS = 1000
_KEYS = (
    "x", "bbox", "image_h", "image_w", "width", "height", "features", "norm_bb", "conf", "regions", "boxes",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """The regions of one picture.

    Attributes:
        features: float32 (n, F), without the padding at the end.
        boxes: float32 (n, 5), or None where the file has none.
        rows: of the file, padding among them; of a grid they all count.
    """

    features: np.ndarray
    boxes: np.ndarray | None
    rows: int


def read_npz_features(file: Path | IO[bytes], source: str = "") -> RegionFeatures:
    """The regions in an .npz file of any of the projects.

    Args:
        file: its path, or its content.
        source: what messages call it; by default the path.

    Raises:
        InputError: it is missing, damaged, oversized, of no known layout, or its arrays do not fit together.
    """
    source = source or str(file)
    return features_of(read_arrays(file, _KEYS, source), source)


def features_of(arrays: Mapping[str, np.ndarray], source: str) -> RegionFeatures:
    """The regions in arrays that are named as one of the projects names them; raises InputError otherwise."""
    if "x" in arrays:
        features, boxes = _openvqa(arrays, source)
    elif "features" in arrays:
        features, boxes = _matrix(arrays["features"], "features", source), arrays.get("norm_bb")
        if boxes is not None:
            boxes = with_area(_matrix(boxes, "norm_bb", source)[:, :4], 1.0, 1.0, source)
    elif "regions" in arrays:
        features, boxes = _matrix(arrays["regions"], "regions", source), arrays.get("boxes")
        if boxes is not None:
            boxes = with_area(_matrix(boxes, "boxes", source)[:, :4], 1.0, 1.0, source)
    else:
        raise InputError(f"{source} holds none of x (openvqa), features (UNITER) and regions (edgevqa)")
    return checked(features, boxes, source)


def checked(features: np.ndarray, boxes: np.ndarray | None, source: str) -> RegionFeatures:
    """The regions without padding, once features and boxes fit together; raises InputError otherwise."""
    if boxes is not None and len(boxes) != len(features):
        # openvqa pads some arrays and not others: what is more must be zeros.
        fewer = min(len(boxes), len(features))
        if features[fewer:].any() or boxes[fewer:].any():
            raise InputError(f"{source} has {len(features)} regions but {len(boxes)} boxes")
        features, boxes = features[:fewer], boxes[:fewer]
    filled = np.flatnonzero(features.any(axis=1))
    count = int(filled[-1]) + 1 if len(filled) else 0
    if not 0 < count <= MOST_REGIONS:
        raise InputError(f"{source} holds {count} regions; 1 to {MOST_REGIONS} are read")
    return RegionFeatures(features[:count], None if boxes is None else boxes[:count], len(features))


def as_boxes(boxes: np.ndarray, numbers: int) -> np.ndarray:
    """Boxes (..., 5) in the numbers that a model takes: those 5, or UNITER's 7; float32 (..., numbers).

    Raises InputError for another count.
    """
    if numbers == boxes.shape[-1]:
        return boxes
    if (boxes.shape[-1], numbers) != (BOX_NUMBERS, UNITER_BOX_NUMBERS):
        raise InputError(f"boxes of {boxes.shape[-1]} numbers are not turned into boxes of {numbers}")
    return np.concatenate([boxes[..., :4], boxes[..., 2:4] - boxes[..., :2], boxes[..., 4:]], axis=-1)


def padded(found: RegionFeatures, described: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    """Regions as a model takes them: regions float32 (R, F), boxes (R, B) if it has them, region_count int64 ().

    Of a picture with more regions than the model has room for, the first are kept, as published ones are in the order
    of their confidence.

    Args:
        found: the regions.
        described: the model's picture: {regions: R, features: F, boxes: B, grid?: [rows, columns]}; a grid is whole.
        source: what messages call them.

    Raises:
        InputError: the features are of another size, or boxes are missing.
    """
    if found.features.shape[1] != described["features"]:
        raise InputError(
            f"the features in {source} have the shape {found.features.shape}; this model takes "
            f"(n, {described['features']})"
        )
    count = min(len(found.features), described["regions"])
    arrays = {"regions": found.features}
    if described["boxes"]:
        if found.boxes is None:
            raise InputError(f"{source} has no boxes of {described['boxes']} numbers, which this model needs")
        arrays["boxes"] = as_boxes(found.boxes, described["boxes"])
    if "grid" in described:
        rows, columns = described["grid"]
        if found.rows != rows * columns:
            raise InputError(f"{source} holds {found.rows} features; this model takes {rows} x {columns}, row by row")
    made = {"region_count": np.array(count, np.int64)}
    for key, values in arrays.items():
        made[key] = np.zeros((described["regions"], values.shape[1]), np.float32)
        made[key][:count] = values[:count]
    if "grid" in described:
        made["region_count"] = np.array(described["regions"], np.int64)
    return made


def _openvqa(arrays: Mapping[str, np.ndarray], source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays of openvqa: VQA-v2's features lie on their side, which is known by the names of the sizes."""
    features = _matrix(arrays["x"], "x", source)
    if "image_h" in arrays and "image_w" in arrays:
        features, height, width = features.T, arrays["image_h"], arrays["image_w"]
    elif "width" in arrays and "height" in arrays:
        height, width = arrays["height"], arrays["width"]
    else:
        return features, None
    if "bbox" not in arrays:
        return features, None
    wide, high = _number(width, "width", source), _number(height, "height", source)
    return features, with_area(_matrix(arrays["bbox"], "bbox", source), wide, high, source)


def with_area(corners: np.ndarray, width: float, height: float, source: str) -> np.ndarray:
    """Boxes float32 (n, 5) of corners x1, y1, x2, y2 (n, 4) in a picture of this size; raises InputError otherwise."""
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise InputError(f"the boxes in {source} have the shape {corners.shape}; (n, 4) is needed")
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise InputError(f"{source} says that its picture is {width:g} x {height:g}")
    relative = corners.astype(np.float32) / np.array([width, height, width, height], np.float32)
    area = (relative[:, 2] - relative[:, 0]) * (relative[:, 3] - relative[:, 1])
    return np.concatenate([relative, area[:, None]], axis=1).astype(np.float32)


def _matrix(values: np.ndarray, key: str, source: str) -> np.ndarray:
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"{key} in {source} has the shape {values.shape}; a matrix is needed")
    return finite(values, key, source)


def _number(values: np.ndarray, key: str, source: str) -> float:
    if values.size != 1:
        raise InputError(f"{key} in {source} should be one number")
    return float(finite(values.reshape(1), key, source)[0])
