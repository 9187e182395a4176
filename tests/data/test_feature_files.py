"""Features as openvqa, LXMERT and UNITER publish them: the same regions from each, one picture at a time."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevqa.data.feature_bases import BOTTOM_UP, LXMERT, open_features, parse_tsv_line, unpacked
from edgevqa.data.features import BOX_NUMBERS, padded, read_npz_features
from edgevqa.data.own import own_dataset
from edgevqa.data.pictures import HELD_BYTES, LazyPictures
from edgevqa.data.preprocessing import feature_inputs
from edgevqa.errors import InputError, MissingExtra
from edgevqa.progress import Silent
from tests.data.own_folder import PICTURES, make_vqa

SIZE = 12
WIDTH, HEIGHT = 200, 100


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))


def picture(image: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, SIZE) and corners in pixels (n, 4) of a picture; n is 3 to 6."""
    random = np.random.default_rng([image, 9])
    count = 3 + image % 4
    low = random.random((count, 2)) * 0.5
    corners = np.concatenate([low, low + 0.1 + random.random((count, 2)) * 0.4], axis=1)
    return random.random((count, SIZE)).astype(np.float32) + 0.1, corners * [WIDTH, HEIGHT, WIDTH, HEIGHT]


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def openvqa_vqa(image: int) -> bytes:
    features, corners = picture(image)
    padding = np.zeros((8 - len(features), SIZE), np.float32)
    x = np.concatenate([features, padding]).T
    return npz(x=x, bbox=corners.astype(np.float32), image_h=HEIGHT, image_w=WIDTH, num_boxes=len(features))


def openvqa_gqa(image: int) -> bytes:
    features, corners = picture(image)
    return npz(x=features, bbox=corners.astype(np.float32), width=np.array([WIDTH]), height=np.array([HEIGHT]))


def uniter_arrays(image: int) -> dict[str, np.ndarray]:
    features, corners = picture(image)
    box = corners / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    sides = box[:, 2:] - box[:, :2]
    norm_bb = np.concatenate([box, sides, sides.prod(axis=1, keepdims=True)], axis=1)
    conf = np.linspace(0.9, 0.2, len(features))
    return {"features": features.astype(np.float16), "norm_bb": norm_bb.astype(np.float16), "conf": conf}


def tsv_line(image: int, fields: tuple[str, ...] = LXMERT) -> bytes:
    features, corners = picture(image)

    def encoded(array: np.ndarray, kind: str) -> bytes:
        return base64.b64encode(array.astype(kind).tobytes())

    count = len(features)
    values = {
        "img_id": f"COCO_x_{image:012d}".encode(), "image_id": str(image).encode(),
        "img_h": str(HEIGHT).encode(), "image_h": str(HEIGHT).encode(),
        "img_w": str(WIDTH).encode(), "image_w": str(WIDTH).encode(), "num_boxes": str(count).encode(),
        "objects_id": encoded(np.zeros(count), "<i8"), "objects_conf": encoded(np.zeros(count), "<f4"),
        "attrs_id": encoded(np.zeros(count), "<i8"), "attrs_conf": encoded(np.zeros(count), "<f4"),
        "boxes": encoded(corners, "<f4"), "features": encoded(features, "<f4"),
    }  # fmt: skip
    return b"\t".join(values[name] for name in fields) + b"\n"


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """As msgpack-numpy packs it."""
    msgpack = pytest.importorskip("msgpack")
    return msgpack.packb(
        {
            key: {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}
            for key, array in arrays.items()
        }
    )


def make_npz(write_one: Callable[[int], bytes], name: str) -> Callable[[Path, list[int]], None]:
    def make(folder: Path, images: list[int]) -> None:
        for image in images:
            (folder / name.format(image)).parent.mkdir(parents=True, exist_ok=True)
            (folder / name.format(image)).write_bytes(write_one(image))

    return make


def make_tsv(fields: tuple[str, ...]) -> Callable[[Path, list[int]], None]:
    def make(folder: Path, images: list[int]) -> None:
        folder.mkdir(exist_ok=True)
        half = len(images) // 2
        for name, part in (("a.tsv", images[:half]), ("b.tsv", images[half:])):
            (folder / name).write_bytes(b"".join(tsv_line(image, fields) for image in part))

    return make


def make_lmdb(pack: Callable[[int], bytes]) -> Callable[[Path, list[int]], None]:
    def make(folder: Path, images: list[int]) -> None:
        lmdb = pytest.importorskip("lmdb")
        folder.mkdir(exist_ok=True)
        with lmdb.open(str(folder / "feat_th0.2"), map_size=1 << 24) as base, base.begin(write=True) as writing:
            keys = [f"coco_train2014_{image:012d}.npz" for image in images]
            for key, image in zip(keys, images, strict=True):
                writing.put(key.encode(), pack(image))
            writing.put(b"__keys__", json.dumps(keys).encode())

    return make


FORMATS = {
    "openvqa VQA-v2": make_npz(openvqa_vqa, "train2014/COCO_train2014_{:012d}.jpg.npz"),
    "openvqa GQA": make_npz(openvqa_gqa, "{}.npz"),
    "UNITER npz": make_npz(lambda image: npz(**uniter_arrays(image)), "coco_{:012d}.npz"),
    "LXMERT": make_tsv(LXMERT),
    "bottom-up": make_tsv(BOTTOM_UP),
    "UNITER LMDB of npz": make_lmdb(lambda image: npz(**uniter_arrays(image))),
    "UNITER LMDB of msgpack": make_lmdb(lambda image: packed(uniter_arrays(image))),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_regions(tmp_path: Path, kind: str) -> None:
    images = [3, 4, 17, 1001]
    FORMATS[kind](tmp_path / "features", images)
    tolerance = 2e-3 if "UNITER" in kind else 1e-6
    for _ in range(2):  # the second time places are known from the first
        base = open_features(tmp_path / "features", Silent())
        for image in images:
            found, (features, corners) = base.read(base.find(str(image), "train")), picture(image)
            assert found.features.dtype == np.float32 and np.allclose(found.features, features, atol=tolerance)
            box = corners / [WIDTH, HEIGHT, WIDTH, HEIGHT]
            assert found.boxes is not None and np.allclose(found.boxes[:, :4], box, atol=tolerance)
            area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
            assert np.allclose(found.boxes[:, 4], area, atol=tolerance)
        with pytest.raises(InputError, match="5"):
            base.find("5", "train")


@pytest.fixture
def feature_folder(tmp_path: Path) -> Path:
    """A VQA folder with features in openvqa's files in the place of pictures."""
    folder = make_vqa(tmp_path / "data", pictures=False)
    ids = [1000 * number + row for number, count in enumerate(PICTURES.values()) for row in range(count)]
    FORMATS["openvqa VQA-v2"](folder / "features", ids)
    return folder


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The .npz files that are opened while a test runs."""
    names: list[str] = []
    listening = True

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "open" and str(arguments[0]).endswith(".npz"):
            names.append(Path(str(arguments[0])).name)

    sys.addaudithook(listen)
    yield names
    listening = False


def test_features_are_opened_only_when_they_are_asked_for(feature_folder: Path, opened: list[str]) -> None:
    dataset = own_dataset(feature_folder)
    described = dataset.preprocessing["picture"]
    assert described == {"kind": "features", "regions": 6, "features": SIZE, "boxes": BOX_NUMBERS}
    assert len(set(opened)) == PICTURES["train"], "the sizes are those of a sample of the training pictures"
    opened.clear()
    split = dataset.split("test")
    assert opened == []
    inputs = split.model_inputs([0, 1, 0])
    first = {f"COCO_train2014_{split.ids[row] // 1000:012d}.jpg.npz" for row in (0, 1)}
    assert set(opened) == first and len(opened) == len(first)
    assert inputs["regions"].shape == (3, 6, SIZE) and inputs["boxes"].shape == (3, 6, 5)
    assert np.array_equal(inputs["regions"][0], inputs["regions"][2])
    count = 3 + split.ids[0] // 1000 % 4
    assert (inputs["region_mask"][0, 0, 0] == 0).sum() == count and not inputs["regions"][0, count:].any()
    before = len(opened)
    split.model_inputs([1])
    assert len(opened) == before, "the last pictures stay in memory"
    path = next((feature_folder / "features").rglob(f"*{split.ids[0] // 1000:012d}*"))
    asked = feature_inputs(path, dataset.preprocessing)
    assert all(np.array_equal(asked[name], inputs[name][:1]) for name in asked)


def test_no_more_than_the_limit_stays_in_memory() -> None:
    reads: list[int] = []

    def read_one(place: int) -> dict[str, np.ndarray]:
        reads.append(place)
        return {"regions": np.full((100, 256), place, np.float32), "region_count": np.array(100)}

    one = 100 * 256 * 4 + 8
    pictures = LazyPictures(range(5000), read_one, lambda: "", held_bytes=10 * one)
    tracemalloc.start()
    for start in range(0, 5000, 50):
        found = pictures.read(np.arange(start, start + 50))
        assert found["regions"][:, 0, 0].tolist() == list(range(start, start + 50))
        assert pictures.held <= 10 * one
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * one and reads == list(range(5000))
    pictures.read(np.array([4999, 4995, 4999]))
    assert len(reads) == 5000 and HELD_BYTES < 1 << 27
    pictures.read(np.array([0, 0]))
    assert reads[5000:] == [0]


def test_more_regions_than_a_model_has_room_for_are_cut(feature_folder: Path) -> None:
    dataset = own_dataset(feature_folder, regions=4)
    regions = dataset.split("train").model_inputs(np.arange(20))["regions"]
    assert regions.shape == (20, 4, SIZE)
    path = next((feature_folder / "features").rglob("*000003.jpg.npz"))
    found = padded(read_npz_features(path), dataset.preprocessing["picture"], "it")
    assert int(found["region_count"]) == 4 and np.array_equal(found["regions"], read_npz_features(path).features[:4])


def test_a_missing_feature_file_is_named(feature_folder: Path) -> None:
    next((feature_folder / "features").rglob("*000000001002.jpg.npz")).unlink()
    dataset = own_dataset(feature_folder)
    with pytest.raises(InputError, match="no file of the picture '1002' that a val question is about"):
        dataset.split("validation")


def bomb(path: Path) -> None:
    """An .npz of a few kilobytes that claims an array of 4 GiB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 10)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(1 << 20))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": np.ones(3)}, "holds none of x (openvqa), features (UNITER) and regions (edgevqa)"),
        ({"x": np.ones(3)}, "x in it has the shape (3,); a matrix is needed"),
        ({"x": np.full((2, 3), np.nan)}, "not finite"),
        ({"x": np.array([["a"]])}, "has the type <U1; numbers are needed"),
        ({"x": np.zeros((4, 3))}, "holds 0 regions"),
        ({"x": np.ones((2000, 3))}, "holds 2000 regions; 1 to 1000 are read"),
        ({"x": np.ones((4, 3)), "bbox": np.ones((4, 2)), "width": 9, "height": 9}, "(n, 4) is needed"),
        ({"x": np.ones((4, 3)), "bbox": np.ones((4, 4)), "width": 0, "height": 9}, "its picture is 0 x 9"),
        ({"x": np.ones((4, 3)), "bbox": np.ones((4, 4)), "width": [1, 2], "height": 9}, "width in it should be one"),
        ({"x": np.ones((4, 3)), "bbox": np.ones((5, 4)), "width": 9, "height": 9}, "4 regions but 5 boxes"),
        ({"features": np.ones((4, 3)), "norm_bb": np.ones((3, 7))}, "4 regions but 3 boxes"),
    ],
)
def test_features_that_are_refused(arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        read_npz_features(io.BytesIO(npz(**arrays)), "it")
    assert said in str(raised.value)


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    bomb(tmp_path / "1.npz")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"x in .* takes 4096 MiB; at most 64 are read"):
        read_npz_features(tmp_path / "1.npz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_tables_with_broken_lines(tmp_path: Path) -> None:
    good = tsv_line(5).split(b"\t")

    def line(**changed: bytes) -> bytes:
        return b"\t".join(changed.get(name, value) for name, value in zip(LXMERT, good, strict=True))

    for broken, said in (
        (b"a\tb", "has 2 fields"),
        (line(num_boxes=b"-1"), "num_boxes should be a number"),
        (line(num_boxes=b"9999999999"), "num_boxes should be a number"),
        (line(num_boxes=b"0"), "holds 0 regions"),
        (line(features=b"!!"), "features is not base64"),
        (line(boxes=good[9][:12]), "which is not float32 for"),
    ):
        with pytest.raises(InputError) as raised:
            parse_tsv_line(broken, "it")
        assert said in str(raised.value)
    (tmp_path / "a.tsv").write_bytes(tsv_line(5) + tsv_line(5))
    with pytest.raises(InputError, match="a second time"):
        open_features(tmp_path, Silent())


def test_other_folders_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"holds no file that ends in \.npz"):
        (tmp_path / "empty").mkdir()
        open_features(tmp_path / "empty", Silent())
    base = tmp_path / "base"
    base.mkdir()
    (base / "data.mdb").write_bytes(b"no data base" * 100)
    with pytest.raises(InputError, match="is not a readable LMDB"):
        open_features(base, Silent())
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtra, match=r"edgevqa\[features\]"):
        open_features(base, Silent())
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(base / "data.mdb", tmp_path / "a.tsv")
    (outside / "a.tsv").symlink_to(tmp_path / "a.tsv")
    with pytest.raises(InputError, match="is a link that leads out of the folder"):
        open_features(outside, Silent())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_or_read(data: st.DataObject) -> None:
    """Bytes are changed, cut off or invented: what comes back is regions or one clear error."""
    kind = data.draw(st.sampled_from(["npz", "tsv", "msgpack", "noise"]))
    content = {
        "npz": lambda: openvqa_vqa(3),
        "tsv": lambda: tsv_line(3),
        "msgpack": lambda: packed(uniter_arrays(3)),
        "noise": lambda: data.draw(st.binary(max_size=200)),
    }[kind]()
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    readers: list[Callable[[], Any]] = [
        lambda: read_npz_features(io.BytesIO(damaged), "it"),
        lambda: parse_tsv_line(damaged, "it"),
        lambda: unpacked(damaged, "it"),
    ]
    for read in readers:
        try:
            found = read()
        except InputError as error:
            assert "it" in str(error)
        else:
            assert isinstance(found, dict) or np.isfinite(found.features).all()
