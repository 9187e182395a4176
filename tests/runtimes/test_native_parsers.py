"""What the runner in C reads from others: it must refuse, never crash, whatever the bytes are."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevqa.runtimes.runner import RESULT_MARK
from tests.runtimes import native_builds, tiny_models

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=99:allocator_may_return_null=1", "UBSAN_OPTIONS": "exitcode=99"}


def read(kind: str, path: Path, content: bytes) -> tuple[int, str]:
    """Let the parsers read some bytes; a fault that the sanitizers saw, or a signal, fails the test."""
    path.write_bytes(content)
    done = subprocess.run(
        [str(native_builds.parsers()), kind, str(path)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, done.stdout


def refused(path: Path, content: bytes) -> str:
    code, output = read("npz", path, content)
    assert code == 3
    result = json.loads(output.strip().removeprefix(RESULT_MARK))
    assert result["kind"] == "inputs"
    return str(result["error"])


def packed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def member(content: bytes, name: str = "question.npy") -> bytes:
    """A zip file with one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin-1", "replace")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@EXAMPLES
@given(value=VALUES, ascii_only=st.booleans())
def test_json_is_read_and_written_as_it_was(tmp_path: Path, value: Any, ascii_only: bool) -> None:
    code, output = read("json", tmp_path / "x", json.dumps(value, ensure_ascii=ascii_only).encode())
    assert code == 0
    assert same(json.loads(output.strip().removeprefix(RESULT_MARK)), value)


def same(left: Any, right: Any) -> bool:
    """Equal but for the last digits of numbers, of which twelve are written."""
    if isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in right)
    if isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(right, bool) or not isinstance(right, int | float):
        return bool(left == right)
    return bool(np.isclose(left, right, rtol=1e-11, atol=0))


@EXAMPLES
@given(content=st.binary(max_size=200) | st.text('{}[]",:\\u0123 etrufalsn.-+E', max_size=80).map(str.encode))
def test_no_bytes_that_pretend_to_be_json_crash_it(tmp_path: Path, content: bytes) -> None:
    code, _output = read("json", tmp_path / "x", content)
    if code == 0:
        json.loads(content)


@EXAMPLES
@given(data=st.data())
def test_no_damage_to_questions_crashes_it(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(packed(**tiny_models.questions(2)))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content)]) | st.integers(0, len(content)))
    read("npz", tmp_path / "x", bytes(content[:end]))


@EXAMPLES
@given(header=st.text("{}'descrshapefortran_order:(), <f4i8|Tu0123456789", max_size=90), data=st.binary(max_size=64))
def test_no_header_of_an_array_crashes_it(tmp_path: Path, header: str, data: bytes) -> None:
    read("npz", tmp_path / "x", member(npy(header, data)))


def test_reads_what_numpy_writes(tmp_path: Path) -> None:
    arrays = {
        **tiny_models.questions(3),
        "half": np.ones((3, 2), np.float16),
        "flag": np.ones(3, bool),
        "labels": np.array(["left out"] * 5, object),
    }
    _code, output = read("npz", tmp_path / "x", packed(**arrays))
    del arrays["labels"]
    expected = [
        f"{name} {array.dtype.name} {list(array.shape)} {np.frombuffer(array.tobytes(), np.uint8).sum()}"
        for name, array in arrays.items()
    ]
    assert output.splitlines() == expected


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is no zip file, or was cut"),
        (packed(x=np.ones((2, 3)))[:-30], "it is no zip file, or was cut"),
        (packed(), "the same number of rows"),
        (packed(x=np.float32(1)), "the same number of rows"),
        (packed(x=np.ones((0, 2))), "its shape makes no sense"),
        (packed(x=np.array(["text"])), "its type is none"),
        (packed(x=np.array([{}], object)), "its type is none"),
        (packed(x=np.ones((2, 3)).T), "not in C order"),
        (packed(x=np.ones((1,) * 9)), "its shape makes no sense"),
        (packed(**{f"x{number}": np.ones(1) for number in range(40)}), "too many members"),
        (packed(**{"x" * 200: np.ones(1)}), "makes no sense"),
        (member(b"text", "text.txt"), "no array"),
        (member(b"text"), "no array of numpy's"),
        (member(npy(GOOD, b"12345678"[:7])), "its shape makes no sense or it was cut"),
        (member(npy(GOOD, b"123456789")), "does not fit its shape"),
        (member(npy(GOOD.replace("(2, 1)", "(99999999999999999999999, 1)"))), "its shape makes no sense"),
        (member(npy(GOOD.replace("(2, 1)", "(4294967296, 4294967296)"))), "its shape makes no sense"),
        (member(npy(" " * 60000)), "its header is too long"),
        (member(npy(GOOD, b"", version=9)[:200]), "its format is unknown"),
        (member(npy(GOOD, version=2)[:11]), "it was cut"),
        (member(b"\x93NUMPY\x01\x00\xff\x00"), "it was cut"),
    ],
)
def test_questions_that_are_none_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refused(tmp_path / "x", content)


def test_compressed_members_and_bombs_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros((2, 1_000_000)))
    assert "compressed" in refused(tmp_path / "x", stream.getvalue())
    # thirty entries of the directory that all mean the same million bytes
    content = packed(x=np.zeros((2, 62_500)))
    directory = content[content.rfind(b"PK\x01\x02") : content.rfind(b"PK\x05\x06")]
    end = bytearray(content[content.rfind(b"PK\x05\x06") :])
    struct.pack_into("<HHI", end, 8, 30, 30, 30 * len(directory))
    bomb = content[: content.rfind(b"PK\x01\x02")] + 30 * directory + bytes(end)
    assert "its members overlap" in refused(tmp_path / "x", bomb)
