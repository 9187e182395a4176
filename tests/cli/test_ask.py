"""`edgevqa ask`: an answer from an artifact's folder alone, without torch; every mistake is one line."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevqa.data.scenes import block_random, sample_scenes
from edgevqa.export.manifest import load_artifact
from tests.cli.conftest import Program, call, says

pytestmark = pytest.mark.slow
QUESTION = "is there a red circle?"


@pytest.fixture(scope="session")
def artifacts(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`onnx` and `tflite`: copies of the artifacts' folders alone, far from where they were made."""
    root = tmp_path_factory.mktemp("shipped") / "to" / "a device"
    for kind in ("onnx", "tflite"):
        shutil.copytree(exported / "artifacts" / "scenes" / "w0.25-d2" / f"{kind}-fp32", root / kind)
    return root


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenes = sample_scenes(1, block_random(5, "test", 0))
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    Image.fromarray(scenes.picture(0)).save(path)
    return path


@pytest.fixture
def copy(artifacts: Path, tmp_path: Path) -> Path:
    """An ONNX artifact of its own that a test may change."""
    return Path(shutil.copytree(artifacts / "onnx", tmp_path / "a" / "b" / "onnx"))


def asked(*arguments: object) -> dict[str, object]:
    result = call("ask", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    "broken",
    [
        {"question": None},
        {"question": {"rule": "openvqa"}},
        {"question": {"rule": "openvqa", "length": -3}},
        {"question": {"rule": "openvqa", "length": 10**13}},
        {"question": {"rule": "openvqa", "length": 14, "synonyms": 5}},
        {"picture": {}},
        {"picture": {"kind": "pixels", "side": 10**9, "normalisation": {"mean": 0, "deviation": 1}}},
        {"picture": {"kind": "pixels", "side": 64, "normalisation": {"mean": 0, "deviation": 0}}},
        {"picture": {"kind": "plain-regions", "working_side": "big", "regions": 9, "features": 28, "boxes": 5}},
    ],
)
def test_a_manifest_that_does_not_say_how_to_read_a_question(copy: Path, picture: Path, broken: dict[str, Any]) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["preprocessing"] |= broken
    path.write_text(json.dumps(manifest))
    says(call("ask", copy, picture, QUESTION), 2, "manifest.json: the key 'preprocessing' does not say how to read")


@pytest.mark.parametrize(("kind", "runtime"), [("onnx", "onnxruntime"), ("tflite", "litert")])
def test_a_picture_is_answered_without_torch_from_the_folder_alone(
    artifacts: Path, picture: Path, tmp_path: Path, light_program: Program, kind: str, runtime: str
) -> None:
    shutil.copy(picture, tmp_path / "picture.png")
    shutil.copytree(artifacts / kind, tmp_path / "device" / "files" / kind)
    folder = f"device/files/{kind}"
    reply = light_program.json("ask", folder, "picture.png", QUESTION, "--top", 99, cwd=tmp_path)
    answers = load_artifact(artifacts / kind, verify=False).manifest["answers"]
    assert sorted(entry["answer"] for entry in reply["answers"]) == sorted(answers)
    probabilities = [entry["probability"] for entry in reply["answers"]]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1)
    assert reply["unknown_words"] == [] and reply["cut"] is False and reply["runtime"] == runtime
    people = light_program("ask", folder, "picture.png", QUESTION, "--top", 2, cwd=tmp_path)
    assert people.returncode == 0 and people.stderr == ""
    assert people.stdout.splitlines() == [
        f"{100 * entry['probability']:6.2f} %  {entry['answer']}" for entry in reply["answers"][:2]
    ]


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_features_are_answered_as_pytorch_answered_them(
    artifacts: Path, exported: Path, tmp_path: Path, kind: str
) -> None:
    artifact = load_artifact(artifacts / kind, verify=False)
    logits, path = artifact.reference_logits(), tmp_path / "features.npz"
    with np.load(exported / "artifacts" / "scenes" / "reference" / "questions.npz", allow_pickle=False) as stored:
        questions = {name: stored[name] for name in stored.files}
    for row in (0, 50, len(logits) - 1):
        np.savez(path, regions=questions["regions"][row], boxes=questions["boxes"][row])
        reply = asked(artifact.folder, path, questions["texts"][row])
        best = reply["answers"][0]  # type: ignore[index]
        weights = np.exp(logits[row].astype(np.float64) - logits[row].max())
        assert best["answer"] == artifact.manifest["answers"][int(logits[row].argmax())]
        assert best["probability"] == pytest.approx(weights.max() / weights.sum(), rel=1e-3)


def test_the_files_of_an_artifact_stand_for_its_folder(artifacts: Path, picture: Path) -> None:
    folder = asked(artifacts / "onnx", picture, QUESTION)
    assert asked(artifacts / "onnx" / "model.onnx", picture, QUESTION) == folder
    assert asked(artifacts / "onnx" / "manifest.json", picture, QUESTION) == folder


def test_unknown_words_and_long_questions_are_answered_with_a_warning(artifacts: Path, picture: Path) -> None:
    result = call("ask", artifacts / "onnx", picture, "is there a red zebra or unicorn?")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 5
    assert result.stderr.splitlines() == [
        "warning: the model does not know 'zebra', 'or', 'unicorn' and may answer at random"
    ]
    reply = asked(artifacts / "onnx", picture, "is there a red zebra?")
    assert reply["unknown_words"] == ["zebra"]
    result = call("ask", artifacts / "onnx", picture, "is there a red circle " * 9)
    assert result.exit_code == 0 and result.stderr == (
        "warning: the question is longer than the model reads; its end was cut off\n"
    )


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("", "the question is empty; ask something like"),
        (" ?! ", "the question is empty"),
        ("wibble wobble", "the model knows no word of 'wibble wobble'; it knows: "),
    ],
)
def test_questions_without_words(artifacts: Path, picture: Path, question: str, said: str) -> None:
    says(call("ask", artifacts / "onnx", picture, question), 2, said)


def png(width: int, height: int) -> bytes:
    """A picture file that claims a size, with next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_pictures_that_cannot_be_read(artifacts: Path, picture: Path, tmp_path: Path) -> None:
    jpeg, whole = tmp_path / "whole.jpg", picture.read_bytes()
    Image.open(picture).save(jpeg)
    files = {
        "text.png": (b"no picture at all", "is not a picture that can be read"),
        "empty.png": (b"", "is not a picture that can be read"),
        "cut.png": (whole[: len(whole) // 2], "cannot read the picture"),
        "cut.jpg": (jpeg.read_bytes()[:700], "cannot read the picture"),
        "large.png": (png(9000, 9000), "has 9000 x 9000 pixels; at most 50 million are read, so scale it down"),
        "bomb.png": (png(100_000, 100_000), "has far too many pixels; at most 50 million are read"),
    }
    for name, (content, said) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        says(call("ask", artifacts / "onnx", path, QUESTION), 2, said, str(path))
    blank = tmp_path / "blank.png"
    Image.new("RGB", (64, 64), "white").save(blank)
    says(call("ask", artifacts / "onnx", blank, QUESTION), 2, f"found nothing in {blank}")
    says(call("ask", artifacts / "onnx", tmp_path / "none.png", QUESTION), 2, "none.png does not exist")
    says(call("ask", artifacts / "onnx", tmp_path, QUESTION), 2, f"{tmp_path} is not a file")


def test_features_that_cannot_be_read(artifacts: Path, tmp_path: Path) -> None:
    path, good = tmp_path / "features.npz", {"regions": np.ones((3, 28)), "boxes": np.ones((3, 5))}
    wrong = {
        "regions in": {**good, "regions": np.ones((3, 27))},
        "no array 'boxes'": {"regions": good["regions"]},
        "not finite": {**good, "boxes": np.full((3, 5), np.nan)},
        "at most 9": {"regions": np.ones((10, 28)), "boxes": np.ones((10, 5))},
        "3 regions but 2 boxes": {**good, "boxes": np.ones((2, 5))},
    }
    for said, arrays in wrong.items():
        np.savez(path, **arrays)
        says(call("ask", artifacts / "onnx", path, QUESTION), 2, said, str(path))
    path.write_bytes(b"PK\x03\x04 torn")
    says(call("ask", artifacts / "onnx", path, QUESTION), 2, f"{path} is not a readable .npz file")
    says(call("ask", artifacts / "onnx", tmp_path / "none.npz", QUESTION), 2, "none.npz do not exist")
    np.savez(path, **good)
    assert asked(artifacts / "onnx", path, QUESTION)["answers"]


def test_errors_are_json_when_asked_for(artifacts: Path, tmp_path: Path) -> None:
    result = call("ask", artifacts / "onnx", tmp_path / "none.png", QUESTION, "--json")
    assert result.exit_code == 2 and result.stderr == ""
    assert json.loads(result.stdout) == {
        "error": f"the picture {tmp_path / 'none.png'} does not exist",
        "exit_code": 2,
    }


def test_an_artifact_for_another_runtime(artifacts: Path, picture: Path) -> None:
    says(
        call("ask", artifacts / "onnx", picture, QUESTION, "--runtime", "litert"),
        2, "model.onnx is not for this runtime: litert opens .tflite files; use onnxruntime",
    )  # fmt: skip
    says(
        call("ask", artifacts / "onnx", picture, QUESTION, "--runtime", "onnxruntim"),
        2, "unknown runtime 'onnxruntim'", "did you mean onnxruntime?",
    )  # fmt: skip


def test_a_runtime_that_opens_the_file_but_is_not_proven_to_answer_rightly_is_refused(
    artifacts: Path, picture: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts / "tflite", tmp_path / "a" / "b" / "tflite")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "runtimes": ["litert"]}))
    says(
        call("ask", folder, picture, QUESTION, "--runtime", "tflite_runtime"),
        2, "is made for litert and may answer wrongly in tflite_runtime",
    )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({**manifest, "runtimes": ["hyperrt"]}))
    says(call("ask", folder, picture, QUESTION), 2, "is made for hyperrt; export it again")


def test_a_changed_file_is_not_asked(copy: Path, picture: Path) -> None:
    content = bytearray((copy / "model.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "model.onnx").write_bytes(content)
    says(
        call("ask", copy, picture, QUESTION),
        2, "model.onnx has changed: its sha256 is not 'sha256' of manifest.json; export it again",
    )  # fmt: skip


def test_folders_that_are_no_artifact(copy: Path, picture: Path, tmp_path: Path) -> None:
    says(call("ask", tmp_path / "none", picture, QUESTION), 2, "it holds no manifest.json")
    (copy / "model.onnx").unlink()
    says(call("ask", copy, picture, QUESTION), 2, "model.onnx is missing")
    for content in ("{", "[]", "{}", '{"schema_version": 99}'):
        (copy / "manifest.json").write_text(content)
        says(call("ask", copy, picture, QUESTION), 2, "manifest.json")


def test_a_manifest_cannot_point_elsewhere(copy: Path, picture: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    for place in ("/etc/passwd", "../../other/model.onnx", "a\0b"):
        (copy / "manifest.json").write_text(json.dumps({**manifest, "file": place}))
        says(call("ask", copy, picture, QUESTION), 2, "names a file outside of the artifact")
