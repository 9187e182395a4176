from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevqa.data import scenes
from edgevqa.data.dataset import load_dataset
from edgevqa.data.preprocessing import (
    encode_question,
    feature_inputs,
    open_picture,
    picture_inputs,
    question_inputs,
)
from edgevqa.data.text import MASKED, UNKNOWN
from edgevqa.errors import InputError

REGIONS = load_dataset("scenes").preprocessing
PIXELS = load_dataset("scenes-pixels").preprocessing
VOCABULARY = load_dataset("scenes").vocabulary


@pytest.fixture(scope="module")
def drawn() -> scenes.Scenes:
    """The scenes of generate_split("test", 20)."""
    return scenes.sample_scenes(20, scenes.block_random(scenes.SEED, "test", 0))


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory, drawn: scenes.Scenes) -> Path:
    path = tmp_path_factory.mktemp("picture") / "scene.png"
    Image.fromarray(drawn.picture(0)).save(path)
    return path


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message and message
    return message


def test_a_question_becomes_inputs() -> None:
    inputs = question_inputs("How many Red circles are there?", VOCABULARY, REGIONS)
    assert inputs["question"].shape == (1, 14) and inputs["question"].dtype == np.int32
    read = [VOCABULARY.words[token] for token in inputs["question"][0] if token]
    assert read == ["how", "many", "red", "circles", "are", "there"]
    assert (inputs["question_mask"][0, 0, 0] == [0] * 6 + [MASKED] * 8).all()


def test_synonyms_are_understood_and_unknown_words_named() -> None:
    encoded = encode_question("What color is the large grey object?", VOCABULARY, REGIONS)
    assert encoded.unknown == ()
    read = " ".join(VOCABULARY.words[token] for token in encoded.tokens[:7])
    assert read == "what colour is the big grey thing"
    encoded = encode_question("is there a zebra?", VOCABULARY, REGIONS)
    assert encoded.unknown == ("zebra",) and encoded.tokens[3] == UNKNOWN


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_an_empty_question_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="empty") as error:
        question_inputs(text, VOCABULARY, REGIONS)
    one_line(error)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_a_scene_in_a_file_gives_the_inputs_of_training(tmp_path, drawn: scenes.Scenes, suffix: str) -> None:
    split = scenes.generate_split("test", 20)
    for scene in (0, 7):
        path = tmp_path / f"{scene}.{suffix}"
        Image.fromarray(drawn.picture(scene)).save(path, **({"lossless": True} if suffix == "webp" else {}))
        inputs = picture_inputs(path, REGIONS)
        trained = split.model_inputs([split.image_index.tolist().index(scene)])
        for name in ("regions", "region_mask", "boxes"):
            assert np.array_equal(inputs[name], trained[name])
            assert inputs[name].dtype == trained[name].dtype


def test_pixels_of_a_file_are_those_of_training(drawn: scenes.Scenes, scene_file: Path) -> None:
    split = scenes.generate_split("test", 20, kind="scenes-pixels")
    trained = split.model_inputs([split.image_index.tolist().index(0)])
    assert np.array_equal(picture_inputs(scene_file, PIXELS)["image"], trained["image"])


def test_a_jpeg_or_a_large_picture_shows_the_same_things(tmp_path, drawn: scenes.Scenes, scene_file: Path) -> None:
    reference = picture_inputs(scene_file, REGIONS)
    picture = Image.fromarray(drawn.picture(0))
    picture.save(tmp_path / "scene.jpg", quality=90)
    picture.resize((640, 640), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    for name in ("scene.jpg", "large.png"):
        inputs = picture_inputs(tmp_path / name, REGIONS)
        assert np.array_equal(inputs["region_mask"], reference["region_mask"])
        for box, features in zip(reference["boxes"][0], reference["regions"][0], strict=True):
            nearest = np.abs(inputs["boxes"][0] - box).sum(axis=1).argmin()
            assert np.abs(inputs["boxes"][0, nearest] - box).max() < 0.03
            assert np.abs(inputs["regions"][0, nearest] - features).max() < 0.3


def square(mode: str, ground: object, ink: object) -> Image.Image:
    picture = Image.new(mode, (100, 80), ground)
    picture.paste(ink, (20, 10, 50, 40))
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        square("RGB", (255, 255, 255), (0, 0, 0)),
        square("L", 255, 0),
        square("1", 1, 0),
        square("LA", (0, 0), (0, 255)),
        square("RGBA", (9, 200, 9, 0), (0, 0, 0, 255)),
        square("RGB", (255, 255, 255), (0, 0, 0)).convert("P"),
    ],
    ids=lambda picture: picture.mode,
)
def test_every_mode_is_read_as_rgb_on_white(tmp_path, picture: Image.Image) -> None:
    picture.save(tmp_path / "picture.png")
    read = np.asarray(open_picture(tmp_path / "picture.png"))
    assert read.shape == (80, 100, 3)
    assert (read[25, 30] == 0).all() and (read[5, 5] == 255).all()


def test_a_transparent_palette_colour_is_white(tmp_path) -> None:
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([10, 20, 30, 200, 0, 0])
    picture.paste(1, (10, 10, 20, 20))
    picture.save(tmp_path / "palette.png", transparency=0)
    read = np.asarray(open_picture(tmp_path / "palette.png"))
    assert read[0, 0].tolist() == [255, 255, 255] and read[15, 15].tolist() == [200, 0, 0]


def test_a_turned_photograph_is_set_upright(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    square("RGB", (255, 255, 255), (0, 0, 0)).save(tmp_path / "turned.png", exif=exif)
    upright = open_picture(tmp_path / "turned.png")
    assert upright.size == (80, 100)
    assert np.asarray(upright)[30, 80 - 1 - 20].tolist() == [0, 0, 0]


def test_no_file_a_folder_and_no_picture(tmp_path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    cases = {
        "absent.png": "does not exist",
        "a" * 300: "does not exist",
        ".": "not a file",
        "text.png": "not a picture",
        "empty.png": "not a picture",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words) as error:
            picture_inputs(tmp_path / name, REGIONS)
        assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_truncated_picture_is_an_input_error(tmp_path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError) as error:
        open_picture(path)
    assert str(path) in one_line(error)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(side, side))
    with pytest.raises(InputError, match="million") as error:
        picture_inputs(path, REGIONS)
    one_line(error)


def test_more_than_eight_bits_a_channel_is_refused(tmp_path) -> None:
    Image.fromarray(np.zeros((50, 50), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((50, 50), np.float32)).save(tmp_path / "deep.tiff")
    for name in ("deep.png", "deep.tiff"):
        with pytest.raises(InputError, match="8-bit"):
            open_picture(tmp_path / name)


def test_nothing_or_too_much_to_see(tmp_path) -> None:
    Image.new("RGB", (60, 60), (240, 240, 240)).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match=r"found nothing.*even background") as error:
        picture_inputs(tmp_path / "blank.png", REGIONS)
    one_line(error)
    crowded = np.full((128, 128, 3), 250, np.uint8)
    for x in range(8, 120, 30):
        for y in range(8, 120, 40):
            crowded[y : y + 12, x : x + 12] = (0, 0, 200)
    Image.fromarray(crowded).save(tmp_path / "crowded.png")
    with pytest.raises(InputError, match="found 12 things"):
        picture_inputs(tmp_path / "crowded.png", REGIONS)


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, allow_pickle=True, **arrays)
    return path


def test_features_are_padded_and_masked(tmp_path) -> None:
    regions = np.random.default_rng(0).normal(size=(3, 28))
    boxes = np.random.default_rng(1).random((3, 5)).astype(np.float32)
    inputs = feature_inputs(save(tmp_path / "f.npz", regions=regions, boxes=boxes), REGIONS)
    assert inputs["regions"].shape == (1, 9, 28) and inputs["regions"].dtype == np.float32
    assert np.allclose(inputs["regions"][0, :3], regions) and not inputs["regions"][0, 3:].any()
    assert np.array_equal(inputs["boxes"][0, :3], boxes) and inputs["boxes"].shape == (1, 9, 5)
    assert inputs["region_mask"][0, 0, 0].tolist() == [0] * 3 + [MASKED] * 6
    padded = save(
        tmp_path / "padded.npz",
        regions=np.pad(regions, ((0, 97), (0, 0))),
        boxes=np.pad(boxes, ((0, 97), (0, 0))),
    )
    for name, array in feature_inputs(padded, REGIONS).items():
        assert np.array_equal(array, inputs[name])


def test_features_of_a_picture_equal_the_picture(tmp_path, scene_file: Path) -> None:
    inputs = picture_inputs(scene_file, REGIONS)
    stored = save(tmp_path / "f.npz", regions=inputs["regions"][0], boxes=inputs["boxes"][0])
    for name, array in feature_inputs(stored, REGIONS).items():
        assert np.array_equal(array, inputs[name])


def test_image_features(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    ready = feature_inputs(save(tmp_path / "u.npz", image=pixels), PIXELS)["image"]
    assert ready.shape == (1, 3, 64, 64) and ready.dtype == np.float32 and ready.max() < 10
    again = feature_inputs(save(tmp_path / "f.npz", image=ready[0]), PIXELS)["image"]
    assert np.array_equal(again, ready)
    with pytest.raises(InputError, match="shape"):
        feature_inputs(save(tmp_path / "w.npz", image=pixels[:, :32]), PIXELS)


GOOD = np.ones((3, 28), np.float32)
BOXES = np.full((3, 5), 0.5, np.float32)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"regions": GOOD}, "boxes"),
        ({"boxes": BOXES}, "regions"),
        ({"regions": GOOD[:, :9], "boxes": BOXES}, "shape"),
        ({"regions": GOOD[0], "boxes": BOXES}, "shape"),
        ({"regions": GOOD, "boxes": BOXES[:, :4]}, "shape"),
        ({"regions": GOOD, "boxes": BOXES[:2]}, "3 regions but 2 boxes"),
        ({"regions": GOOD * np.nan, "boxes": BOXES}, "not finite"),
        ({"regions": GOOD, "boxes": BOXES * np.inf}, "not finite"),
        ({"regions": GOOD.astype(np.float64) * 1e300, "boxes": BOXES}, "not finite"),
        ({"regions": GOOD[:0], "boxes": BOXES[:0]}, "no regions"),
        ({"regions": GOOD * 0, "boxes": BOXES}, "no regions"),
        ({"regions": np.ones((12, 28)), "boxes": np.ones((12, 5))}, "12 regions.*at most 9"),
        ({"regions": GOOD.astype(str), "boxes": BOXES}, "numbers"),
        ({"regions": GOOD * 1j, "boxes": BOXES}, "numbers"),
        ({"regions": GOOD.astype(object), "boxes": BOXES}, "not a readable"),
    ],
)
def test_bad_features_are_one_clear_line(tmp_path, arrays: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        feature_inputs(save(tmp_path / "bad.npz", **arrays), REGIONS)
    assert "bad.npz" in one_line(error)


def test_unreadable_feature_files(tmp_path) -> None:
    good = save(tmp_path / "good.npz", regions=GOOD, boxes=BOXES).read_bytes()
    middle = good.replace(b"\x00\x00\x80?" * 40, b"\x00\x00\x80@" * 40)  # other data, the old checksum
    assert middle != good
    for content in (b"", b"nonsense", good[:-30], good[: len(good) // 2], middle):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz") as error:
            feature_inputs(tmp_path / "bad.npz", REGIONS)
        one_line(error)
    with pytest.raises(InputError, match="do not exist"):
        feature_inputs(tmp_path / "absent.npz", REGIONS)


def test_a_feature_file_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("regions.npy", "w") as member:
        shape = (10**12, 28)
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("boxes.npy", b"")
    with pytest.raises(InputError, match="at most"):
        feature_inputs(path, REGIONS)


def test_a_model_of_features_takes_no_picture(scene_file: Path) -> None:
    only_features = {"picture": {"kind": "features", "regions": 4, "features": 6, "boxes": 0}}
    with pytest.raises(InputError, match="npz"):
        picture_inputs(scene_file, only_features)


def test_features_without_boxes(tmp_path) -> None:
    preprocessing = {"picture": {"kind": "features", "regions": 4, "features": 6, "boxes": 0}}
    inputs = feature_inputs(save(tmp_path / "f.npz", regions=np.ones((2, 6))), preprocessing)
    assert set(inputs) == {"regions", "region_mask"}


def test_answering_needs_no_torch() -> None:
    code = "import sys, edgevqa.data.preprocessing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
