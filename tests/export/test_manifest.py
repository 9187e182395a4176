"""Manifests: what is read must be whole, inside its folder, and match the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevqa.errors import EdgeVQAError, InputError, IntegrityError, UsageError
from edgevqa.export.manifest import FIELDS, Artifact, check_manifest, find_artifacts, load_artifact


def edit(artifact: Artifact, change: Callable[[dict[str, Any]], None]) -> Path:
    path = artifact.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return artifact.folder


def test_an_artifact_tells_what_it_is(small: Artifact) -> None:
    manifest = small.manifest
    assert small.name == "toy/w0.25-d1/onnx-fp32"
    assert manifest["opset"] == 18 and "schema" not in manifest
    assert (manifest["width"], manifest["depth"], manifest["regions"], manifest["tokens"]) == (0.25, 1, 4, 10)
    assert manifest["flops"] == 2 * manifest["macs"] and manifest["file_bytes"] == small.file.stat().st_size
    assert manifest["task"]["dataset"] == "toys" and len(manifest["answers"]) == 9
    assert manifest["versions"]["torch"].count(".") == 2 and "+" not in manifest["versions"]["torch"]
    assert small.reference_logits().shape == (100, 9)
    assert "labels" in np.load(small.reference_inputs)


def test_the_manifest_of_a_pixel_model_gives_the_layout(artifacts: dict[str, Artifact]) -> None:
    entries = {name: artifact.manifest["inputs"] for name, artifact in artifacts.items()}
    assert {entry["dtype"] for entry in entries["tflite-int8"]} == {"int32", "float32"}
    assert artifacts["tflite-fp32"].manifest["schema"] == 3 and "opset" not in artifacts["tflite-fp32"].manifest


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_a_missing_key_is_named(small: Artifact, key: str) -> None:
    folder = edit(small, lambda manifest: manifest.pop(key))
    with pytest.raises(IntegrityError, match=rf"manifest\.json.* '{key}'.*export it again"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("macs", -1),
        ("macs", 1.5),
        ("macs", True),
        ("sha256", "abc"),
        ("answers", ["a", 3]),
        ("inputs", [{}]),
        ("width", "wide"),
        ("depth", "2"),
        ("task", []),
        ("reference", {"file": "x"}),
        ("output", {"name": 1}),
        ("model", "../elsewhere"),
        ("submodel", "\x1b[2J"),
    ],
)
def test_a_wrong_value_is_named(small: Artifact, key: str, value: Any) -> None:
    folder = edit(small, lambda manifest: manifest.update({key: value}))
    with pytest.raises(IntegrityError, match=rf"manifest\.json.*'{key}"):
        load_artifact(folder)


def test_as_many_answers_as_logits(small: Artifact) -> None:
    folder = edit(small, lambda manifest: manifest["answers"].pop())
    with pytest.raises(
        IntegrityError, match=r"manifest\.json: there are 8 answers, but the output has the shape \[1, 9\]"
    ):
        load_artifact(folder, verify=False)


def test_an_artifact_directly_below_the_root_has_a_place_for_its_reference(small: Artifact) -> None:
    assert Artifact(Path("/onnx-fp32"), small.manifest).reference_inputs == Path("/reference/questions.npz")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(FIELDS)), json_values, min_size=1, max_size=3))
def test_any_change_of_a_manifest_is_read_or_refused(artifacts: dict[str, Artifact], changes: dict[str, Any]) -> None:
    manifest = {**artifacts["onnx-fp32"].manifest, **changes}
    try:
        check_manifest(manifest, Path("manifest.json"))
    except EdgeVQAError as error:
        assert "manifest.json" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("name", ["../x", "../../../../etc/passwd", "/etc/passwd", "a/../../x"])
@pytest.mark.parametrize("key", ["file", "reference_logits", "reference"])
def test_no_path_leaves_the_artifact(small: Artifact, key: str, name: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        if key == "file":
            manifest["file"] = name
        else:
            manifest[key]["file"] = "../" + name if key == "reference" and not name.startswith("/") else name

    folder = edit(small, change)
    with pytest.raises(IntegrityError, match=r"manifest\.json names a file outside"):
        load_artifact(folder, verify=False)


def test_a_changed_file_is_found(small: Artifact) -> None:
    content = bytearray(small.file.read_bytes())
    content[len(content) // 2] ^= 1
    small.file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.onnx has changed.*'sha256'"):
        load_artifact(small.folder)
    assert load_artifact(small.folder, verify=False).sha256 == small.sha256


@pytest.mark.parametrize("name", ["file", "reference_inputs", "reference_logits_path"])
def test_a_missing_or_truncated_file_is_found(small: Artifact, name: str) -> None:
    path: Path = getattr(small, name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"{path.name} has changed"):
        load_artifact(small.folder)
    path.unlink()
    with pytest.raises(IntegrityError, match=f"{path.name} is missing"):
        load_artifact(small.folder)


def test_reference_questions_that_unpack_to_too_much_are_not_read(
    small: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevqa.export.manifest.LARGEST_REFERENCE", 1 << 10)
    with pytest.raises(IntegrityError, match=r"questions\.npz takes .* MiB; at most 0 are read"):
        load_artifact(small.folder)


def test_reference_questions_that_are_no_archive_are_named(small: Artifact) -> None:
    small.reference_inputs.write_bytes(b"PK\x03\x04 no archive")
    digest = hashlib.sha256(small.reference_inputs.read_bytes()).hexdigest()
    folder = edit(small, lambda manifest: manifest["reference"].update(sha256=digest))
    with pytest.raises(IntegrityError, match=r"questions\.npz is not readable: File is not a zip file"):
        load_artifact(folder)


def test_broken_reference_logits_are_named(small: Artifact) -> None:
    np.save(small.reference_logits_path, np.zeros((3, 9), np.float32))
    with pytest.raises(IntegrityError, match=r"shape \(3, 9\) instead of \(100, 9\)"):
        small.reference_logits()


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00"])
def test_a_broken_manifest_is_named(small: Artifact, content: str) -> None:
    (small.folder / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        load_artifact(small.folder)


def test_a_newer_manifest_is_told_apart_from_a_broken_one(small: Artifact) -> None:
    folder = edit(small, lambda manifest: manifest.update(schema_version=2))
    with pytest.raises(UsageError, match="written by a newer edgevqa"):
        load_artifact(folder)


def test_an_artifact_is_found_by_folder_manifest_or_file(small: Artifact) -> None:
    for path in (small.folder, small.file, small.folder / "manifest.json"):
        assert load_artifact(path).sha256 == small.sha256
    with pytest.raises(InputError, match="is no artifact"):
        load_artifact(small.folder.parent)


def test_artifacts_are_found_below_a_folder_in_order(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    root = artifacts["onnx-fp32"].folder.parents[2]
    found = find_artifacts(root, verify=True)
    assert sorted(artifact.folder.name for artifact in found) == sorted(artifacts)
    assert [artifact.folder for artifact in find_artifacts(found[0].folder)] == [found[0].folder]
    assert find_artifacts(tmp_path) == []
    with pytest.raises(InputError, match="no such folder"):
        find_artifacts(tmp_path / "nowhere")


def test_what_an_export_is_making_is_not_found(small: Artifact) -> None:
    small.folder.rename(small.folder.parent / ".tmp-x")
    names = [artifact.folder.name for artifact in find_artifacts(small.folder.parents[1])]
    assert names and ".tmp-x" not in names and "onnx-fp32" not in names
