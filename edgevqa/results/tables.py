"""Tables of rows: the CSV that holds everything, and short texts for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.measure.record import Record
from edgevqa.results.pareto import Row
from edgevqa.storage import write_text

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (*(field.name for field in dataclasses.fields(Record)), "fronts", "why_not")


def to_dict(row: Row) -> dict[str, Any]:
    """A row as JSON: the fields of its record, `fronts` (such as `p90 size`) and `why_not`."""
    return {**row.record.to_dict(), "fronts": " ".join(row.fronts), "why_not": row.why_not}


def frame(rows: Sequence[Row]) -> DataFrame:
    """The rows as a pandas table with COLUMNS; what is not known is None."""
    import pandas

    values = [[_cell(value) for value in to_dict(row).values()] for row in in_order(rows)]
    return pandas.DataFrame(values, columns=list(COLUMNS), dtype=object)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write every row with every column, atomically; equal rows give equal bytes in whatever order they come.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    write_text(path, frame(rows).to_csv(index=False, lineterminator="\n"))


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The rows sorted by group, then the fastest first, then by name and age."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[Any, ...]:
    record = row.record
    p90 = float("inf") if record.p90_ms is None else record.p90_ms
    name = (record.submodel, record.format, record.precision, record.runtime, record.threads)
    return (row.group, p90, *name, record.created, record.run_id, record.to_line())


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
