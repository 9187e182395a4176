"""Weights out of somebody else's file: tensors and plain values only, never code."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from torch import Tensor

PARALLEL = "module."
"""What DataParallel puts before every name."""
STEPS = ".num_batches_tracked"
"""What BatchNorm counts its steps in; no model reads it."""


@dataclass(frozen=True)
class State:
    """The tensors of a file by their names there.

    Args:
        path: of the file, for messages.
        tensors: floating-point ones, all finite.
    """

    path: Path
    tensors: Mapping[str, Tensor]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def shape(self, key: str, *axes: str) -> tuple[int, ...]:
        """The shape of a tensor whose axes are known by name; raises InputError when it is missing or has others."""
        wanted = f"[{', '.join(axes)}]"
        if key not in self.tensors:
            raise InputError(f"{self.path} lacks the key {key!r}, which should have the shape {wanted}")
        found = tuple(self.tensors[key].shape)
        if len(found) != len(axes):
            raise InputError(f"{self.path}: the key {key!r} has the shape {list(found)}; it should be {wanted}")
        return found

    def layers(self, pattern: str) -> int:
        """How many layers there are of a list whose keys begin with a pattern, in which `{}` is the layer's number."""
        begins, ends = map(re.escape, pattern.split("{}"))
        found = (re.match(rf"{begins}(\d+){ends}\.", key) for key in self.tensors)
        return len({match[1] for match in found if match})


def read_state(path: Path) -> State:
    """Read the weights of a file that PyTorch wrote; DataParallel's prefix is dropped.

    Raises:
        InputError: the file is missing or damaged, or holds anything but tensors and plain values.
        MissingExtra: torch is not installed.
    """
    content = _load(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no weights by name but a value of type {type(content).__name__}")
    content = {key: value for key, value in content.items() if not str(key).endswith(STEPS)}
    for key, value in content.items():
        _check(path, key, value)
    if all(key.startswith(PARALLEL) for key in content):
        content = {key.removeprefix(PARALLEL): value for key, value in content.items()}
    return State(path, {key: value.detach().float() for key, value in content.items()})


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "export") from None
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        called = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it calls {called[1]}" if called else "its pickle has operations that weights do not need"
        raise InputError(f"{path} holds more than weights ({reason}), so it is not read") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # a damaged file can fail in the archive, the unpickler or the storages
        reason = " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__
        raise InputError(f"{path} is not a whole PyTorch file: {reason}") from None


def _check(path: Path, key: Any, value: Any) -> None:
    import torch

    if not isinstance(key, str) or not isinstance(value, torch.Tensor):
        raise InputError(f"{path}: the entry {key!r} is not a tensor but a value of type {type(value).__name__}")
    if value.layout != torch.strided or not value.is_floating_point():
        raise InputError(f"{path}: the key {key!r} holds {value.dtype} values; weights are floating-point numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InputError(f"{path}: the key {key!r} claims the shape {list(value.shape)} but holds fewer values")
    if not value.numel() or not bool(torch.isfinite(value).all()):
        raise InputError(f"{path}: the key {key!r} holds {'NaN or infinity' if value.numel() else 'no values'}")
