"""Records on disk: a JSON line each, only ever appended; a broken line is reported, never just dropped."""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgevqa.errors import Inconclusive, InputError
from edgevqa.measure.record import RECORDS_NAME, SCHEMA_VERSION, Record
from edgevqa.storage import append_line

LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Reading:
    """What a folder of results holds.

    Attributes:
        records: the good lines, oldest first.
        problems: a sentence for every line that was left out, with its number and the reason.
    """

    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()


def append(results: Path, record: Record) -> None:
    """Add a record to a folder of results; raises EnvironmentFailure when it cannot be written."""
    append_line(results / RECORDS_NAME, record.to_line())


def read(results: Path) -> Reading:
    """Read the records of a folder.

    Raises:
        InputError: there is no such folder, or its records cannot be read.
        Inconclusive: nothing was measured into it yet.
    """
    path = results / RECORDS_NAME
    if not results.is_dir():
        raise InputError(f"there is no results folder {results}; `edgevqa bench` makes one")
    records: list[Record] = []
    problems: list[str] = []
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE):
                number += 1
                whole = line.endswith(b"\n")
                if not whole and len(line) == LONGEST_LINE:
                    _skip_line(stream)
                try:
                    records.append(parse(line))
                except InputError as error:
                    reason = str(error) if whole else "it was cut short; a run was killed while writing it"
                    problems.append(f"{path}, line {number} was left out: {reason}")
    except FileNotFoundError:
        raise Inconclusive(f"nothing was measured into {results} yet; run `edgevqa bench`") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not records and not problems:
        raise Inconclusive(f"nothing was measured into {results} yet; run `edgevqa bench`")
    return Reading(tuple(records), tuple(problems))


def parse(line: bytes) -> Record:
    """The record in one line; raises InputError when it is not one, or a value is of the wrong kind."""
    try:
        values = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError("it is not a JSON object")
    version = values.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(f"a newer edgevqa wrote it (schema {version}, this one reads up to {SCHEMA_VERSION})")
    record = Record.from_dict(values)
    for name, kinds in _field_kinds().items():
        value = getattr(record, name)
        if not _fits(value, kinds):
            raise InputError(f"{name} is {value!r}, which is no {' or '.join(_kind_name(k) for k in kinds)}")
    return record


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _skip_line(stream: typing.BinaryIO) -> None:
    while (piece := stream.readline(LONGEST_LINE)) and not piece.endswith(b"\n"):
        pass


@cache
def _field_kinds() -> dict[str, tuple[Any, ...]]:
    """For every field of a record, the types that its value may have."""
    hints = typing.get_type_hints(Record)
    return {
        name: typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,) for name, hint in hints.items()
    }


def _fits(value: Any, kinds: tuple[Any, ...]) -> bool:
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            if isinstance(value, tuple) and all(_fits(part, (item,)) for part in value):
                return True
        elif kind is float:
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return True
        elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return True
    return False


def _kind_name(kind: Any) -> str:
    return "null" if kind is type(None) else getattr(kind, "__name__", str(kind))
