"""Artifacts: a folder with one exported file and the manifest that says what it is. Needs neither torch nor a runtime.

<out>/<model>/<submodel>/<format>-<precision>[-<scheme>]/
    model.onnx | model.tflite, manifest.json, reference_logits.npy
<out>/<model>/reference/questions.npz       shared by all artifacts of a model
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import InputError, IntegrityError, UsageError
from edgevqa.storage import inside, read_json, sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
REFERENCE = "reference/questions.npz"
REFERENCE_LOGITS = "reference_logits.npy"
AGAIN = "export it again"
LARGEST_REFERENCE = 1 << 30  # bytes, unpacked

TEXT, COUNT, NUMBER, DICT, TEXTS = "text", "a count", "a number", "an object", "a list of texts"
NAME = "a name of letters, digits, '.', '_' and '-'"
HASH, SHAPE, INPUTS, OPTIONAL = "a sha256", "a list of sizes", "a list of inputs", " or null"

FIELDS: Mapping[str, str] = {
    "schema_version": COUNT,
    "model": NAME,
    "model_sha256": HASH,
    "submodel": NAME,
    "method": TEXT,
    "plan": DICT,
    "format": TEXT,
    "precision": TEXT,
    "scheme": TEXT,
    "calibration_sha256": HASH + OPTIONAL,
    "file": TEXT,
    "file_bytes": COUNT,
    "sha256": HASH,
    "parameters": COUNT,
    "macs": COUNT,
    "flops": COUNT,
    "width": NUMBER + OPTIONAL,
    "depth": COUNT + OPTIONAL,
    "regions": COUNT + OPTIONAL,
    "tokens": COUNT,
    "scope": TEXT,
    "operators": DICT,
    "notes": TEXTS,
    "inputs": INPUTS,
    "output": DICT,
    "preprocessing": DICT,
    "vocabulary": TEXTS,
    "answers": TEXTS,
    "reference": DICT,
    "reference_logits": DICT,
    "runtimes": TEXTS,
    "task": DICT,
    "versions": DICT,
    "command": TEXT,
    "created": TEXT,
}
"""The keys of a manifest, all of them required, and what each holds."""

FORMATS: Mapping[str, str] = {"onnx": "opset", "tflite": "schema"}
"""The formats, and the key under which a manifest holds the version of each."""

PARTS: Mapping[str, Mapping[str, str]] = {
    "output": {"name": TEXT, "shape": SHAPE, "dtype": TEXT},
    "reference": {"file": TEXT, "sha256": HASH, "count": COUNT},
    "reference_logits": {"file": TEXT, "sha256": HASH},
    "task": {
        "dataset": TEXT + OPTIONAL,
        "version": COUNT + OPTIONAL,
        "trained": "true or false",
        "fp32_score": NUMBER + OPTIONAL,
    },
}
INPUT_FIELDS: Mapping[str, str] = {"name": TEXT, "shape": SHAPE, "dtype": TEXT, "meaning": TEXT}


def _is(value: Any, kind: str) -> bool:
    if kind.endswith(OPTIONAL):
        return value is None or _is(value, kind.removesuffix(OPTIONAL))
    if kind == TEXT:
        return isinstance(value, str)
    if kind == NAME:
        return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is not None
    if kind == COUNT:
        return type(value) is int and value >= 0
    if kind == NUMBER:
        return type(value) in (int, float) and math.isfinite(value)
    if kind == "true or false":
        return isinstance(value, bool)
    if kind == HASH:
        return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
    if kind == DICT:
        return isinstance(value, dict)
    items = {SHAPE: COUNT, TEXTS: TEXT, INPUTS: DICT}[kind]
    return isinstance(value, list) and all(_is(item, items) for item in value)


def _check(values: Mapping[str, Any], fields: Mapping[str, str], path: Path, where: str = "") -> None:
    for key, kind in fields.items():
        if key not in values:
            raise IntegrityError(f"{path} lacks the key '{where}{key}'; {AGAIN}")
        if not _is(values[key], kind):
            shown = repr(values[key])
            shown = shown if len(shown) < 80 else shown[:77] + "..."
            raise IntegrityError(f"{path}: the key '{where}{key}' should be {kind}, not {shown}; {AGAIN}")


def check_manifest(manifest: Any, path: Path) -> dict[str, Any]:
    """Check what was read from `path` key by key.

    Raises:
        IntegrityError: a key is missing or holds something else; the message names file and key.
        UsageError: the manifest has a newer schema than this version of edgevqa knows.
    """
    if not isinstance(manifest, dict):
        raise IntegrityError(f"{path} should hold a JSON object; {AGAIN}")
    version = manifest.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise UsageError(f"{path} was written by a newer edgevqa (schema {version}); this one knows {SCHEMA_VERSION}")
    _check(manifest, FIELDS, path)
    version_key = FORMATS.get(manifest["format"])
    if version_key is None:
        known = ", ".join(FORMATS)
        raise IntegrityError(f"{path}: the format {manifest['format']!r} is not known; known: {known}")
    _check(manifest, {version_key: COUNT}, path)
    for key, fields in PARTS.items():
        _check(manifest[key], fields, path, key + ".")
    for number, entry in enumerate(manifest["inputs"]):
        _check(entry, INPUT_FIELDS, path, f"inputs[{number}].")
    answers, shape = len(manifest["answers"]), manifest["output"]["shape"]
    if shape != [1, answers]:
        raise IntegrityError(f"{path}: there are {answers} answers, but the output has the shape {shape}; {AGAIN}")
    return manifest


@dataclass(frozen=True)
class Artifact:
    """An exported file with its manifest, see `load_artifact`."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def file(self) -> Path:
        """The model file."""
        return inside(self.folder, self.manifest["file"])

    @property
    def sha256(self) -> str:
        """What the manifest says of the model file."""
        return str(self.manifest["sha256"])

    @property
    def name(self) -> str:
        """`scenes/w0.25-d2/tflite-int8`: model, submodel and folder."""
        return f"{self.manifest['model']}/{self.manifest['submodel']}/{self.folder.name}"

    @property
    def reference_inputs(self) -> Path:
        """The reference questions: inputs stacked over n questions, `labels` int64 (n,), `texts`."""
        return inside(self.folder.absolute().parent.parent, self.manifest["reference"]["file"])

    @property
    def reference_logits_path(self) -> Path:
        """Logits (n, answers) of the fp32 PyTorch submodel on the reference questions."""
        return inside(self.folder, self.manifest["reference_logits"]["file"])

    def reference_logits(self) -> NDArray[np.float32]:
        """Logits float32 (n, answers) of the fp32 PyTorch submodel; raises IntegrityError when they are broken."""
        import numpy as np

        path = self.reference_logits_path
        try:
            logits = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise IntegrityError(f"{path} is not readable: {error}; {AGAIN}") from None
        expected = (self.manifest["reference"]["count"], len(self.manifest["answers"]))
        if logits.shape != expected:
            raise IntegrityError(f"{path} has the shape {logits.shape} instead of {expected}; {AGAIN}")
        return np.asarray(logits, np.float32)

    def verify(self) -> None:
        """Compare the artifact's files with the manifest.

        Raises:
            IntegrityError: a file is missing, or its sha256 is not the manifest's.
        """
        self.verify_file()
        self._compare(self.reference_logits_path, "reference_logits.sha256")
        self._compare(self.reference_inputs, "reference.sha256")
        self._check_reference()

    def verify_file(self) -> None:
        """Compare the model file alone with the manifest, see `verify`; the folder is enough for this."""
        self._compare(self.file, "sha256")

    def _check_reference(self) -> None:
        """Raise IntegrityError unless the reference questions are an archive that memory can hold."""
        path = self.reference_inputs
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise IntegrityError(f"{path} is not readable: {error}; {AGAIN}") from None
        if size > LARGEST_REFERENCE:
            raise IntegrityError(f"{path} takes {size >> 20} MiB; at most {LARGEST_REFERENCE >> 20} are read; {AGAIN}")

    def _compare(self, path: Path, key: str) -> None:
        part, _, field = key.rpartition(".")
        expected = (self.manifest[part] if part else self.manifest)[field]
        if not path.is_file():
            raise IntegrityError(f"{path} is missing; {AGAIN}")
        if sha256_file(path) != expected:
            raise IntegrityError(f"{path} has changed: its sha256 is not '{key}' of {MANIFEST}; {AGAIN}")


def load_artifact(folder: Path | str, *, verify: bool = True) -> Artifact:
    """Read an artifact's folder (or its manifest or model file, given by path).

    Args:
        folder: the artifact.
        verify: whether the sha256 of its files are compared with the manifest.

    Raises:
        InputError: there is no artifact.
        IntegrityError: the manifest is broken, points outside the folder, or a file does not match it.
    """
    folder = Path(folder)
    if folder.is_file():
        folder = folder.parent
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} is no artifact: it holds no {MANIFEST}; `edgevqa export` makes artifacts")
    try:
        read = read_json(path)
    except InputError as error:
        raise IntegrityError(f"{error}; {AGAIN}") from None
    artifact = Artifact(folder, check_manifest(read, path))
    try:
        places = artifact.file, artifact.reference_inputs, artifact.reference_logits_path
    except IntegrityError as error:
        raise IntegrityError(f"{path} names a file outside of the artifact: {error}; {AGAIN}") from None
    if len(set(places)) < len(places):
        raise IntegrityError(f"{path} names one file for different things; {AGAIN}")
    if verify:
        artifact.verify()
    return artifact


def find_artifacts(root: Path | str, *, verify: bool = False) -> list[Artifact]:
    """All artifacts below a folder, smallest submodel first; what a running export is making is left out.

    Raises:
        InputError: the folder does not exist.
        IntegrityError: see `load_artifact`.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"there are no artifacts in {root}: no such folder; `edgevqa export` makes artifacts")
    found = [
        load_artifact(path.parent, verify=verify)
        for path in root.rglob(MANIFEST)
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return sorted(found, key=_order)


def _order(artifact: Artifact) -> tuple[Any, ...]:
    manifest = artifact.manifest
    return (
        manifest["model"],
        manifest["macs"],
        manifest["submodel"],
        manifest["format"],
        artifact.folder.name,
    )
