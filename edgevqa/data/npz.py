"""Arrays of .npz files of unknown origin: what each one claims to take is checked before memory is taken for it."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from edgevqa.errors import InputError

MAXIMUM_FEATURE_BYTES = 64 << 20


def read_arrays(file: Path | IO[bytes], keys: Collection[str], source: str = "") -> dict[str, np.ndarray]:
    """The arrays of these names that an .npz file holds.

    Args:
        file: its path, or its content.
        keys: the names that are read; others are left alone.
        source: what messages call it; by default the path.

    Raises:
        InputError: it is missing or damaged, or an array claims more than `MAXIMUM_FEATURE_BYTES`.
    """
    source = source or str(file)
    if isinstance(file, Path) and not os.path.isfile(file):
        raise InputError(f"the features {file} do not exist or are not a file")
    try:
        with zipfile.ZipFile(file) as archive:
            names = [key for key in keys if f"{key}.npy" in archive.namelist()]
            return {key: _read_array(archive, key, source) for key in names}
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail in the archive, the decompressor or the header
        raise InputError(f"{source} is not a readable .npz file: {error}") from None


def array_names(path: Path) -> set[str]:
    """The names of the arrays in an .npz file; raises InputError when it is missing or damaged."""
    if not os.path.isfile(path):
        raise InputError(f"the features {path} do not exist or are not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except Exception as error:  # see `read_arrays`
        raise InputError(f"{path} is not a readable .npz file: {error}") from None


def _read_array(archive: zipfile.ZipFile, key: str, source: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(member)
        check_size(shape, dtype, key, source)
    with archive.open(f"{key}.npy") as member:
        found: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        return found


def check_size(shape: tuple[int, ...], dtype: np.dtype, key: str, source: str) -> None:
    """Raise InputError when an array of this shape would take too much memory."""
    size = math.prod(shape) * dtype.itemsize
    if size > MAXIMUM_FEATURE_BYTES:
        most = MAXIMUM_FEATURE_BYTES >> 20
        raise InputError(f"{key} in {source} takes {size >> 20} MiB; at most {most} are read")


def finite(values: np.ndarray, key: str, source: object) -> np.ndarray:
    """The values as float32; raises InputError for other than real, finite numbers."""
    if values.dtype.kind not in "fiu":
        raise InputError(f"{key} in {source} has the type {values.dtype}; numbers are needed")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{key} in {source} holds values that are not finite (NaN or infinity)")
    return numbers
