"""The one file to ship, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgevqa.measure.record import Record
from edgevqa.results.pareto import Row


@dataclass(frozen=True)
class Recommendation:
    """The file to ship out of comparable rows.

    The rule: of all files whose score lies within one standard error of the best score, the fastest. A
    smaller difference in score cannot be told from chance with the questions at hand, one in latency can (the
    rule of one standard error, Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3).
    Near 100 % the standard error vanishes although chance does not; one question counts as the least difference.

    Attributes:
        record: the file to ship.
        best: the row with the best score.
        largest: the largest fp32 submodel, to compare with; in the same runtime where it was measured there.
        sentence: all of that in one sentence.
    """

    record: Record
    best: Record
    largest: Record | None
    sentence: str


def recommend(rows: Sequence[Row]) -> Recommendation | None:
    """Choose among the rows of one group; None when none of them was gated, valid, scored and measured."""
    counted = [row.record for row in rows if row.counts]
    if not counted:
        return None
    best = max(counted, key=lambda record: (_score(record), -_p90(record)))
    least = _score(best) - max(best.score_error or 0.0, _one_question(best)) - 1e-9
    near = [record for record in counted if _score(record) >= least]
    chosen = min(near, key=lambda record: (_p90(record), -_score(record), record.file_mb or 0.0))
    largest = _largest(counted, chosen)
    return Recommendation(chosen, best, largest, _sentence(chosen, best, largest))


def _one_question(record: Record) -> float:
    """What one of the questions counts in percent points; 0 where their number is unknown."""
    return 100.0 / record.score_n if record.score_n else 0.0


def _largest(records: Sequence[Record], chosen: Record) -> Record | None:
    floats = [record for record in records if record.precision == "fp32" and record.model == chosen.model]
    if not floats:
        return None
    most = max(record.parameters or 0 for record in floats)
    full = [record for record in floats if (record.parameters or 0) == most]
    return min(full, key=lambda record: (record.runtime != chosen.runtime, _p90(record)))


def _sentence(chosen: Record, best: Record, largest: Record | None) -> str:
    word = "right" if chosen.score_kind in (None, "accuracy") else chosen.score_kind
    size = "" if chosen.file_mb is None else f" and {chosen.file_mb:.3g} MB"
    text = (
        f"Ship {chosen.artifact}, run in {chosen.runtime}: {score_text(chosen)} {word} "
        f"at p90 {_p90(chosen):.3g} ms{size} on {chosen.target}"
    )
    if chosen is best:
        text += ", the best score of all"
    else:
        width = "one question" if (best.score_error or 0.0) < _one_question(best) else "one standard error"
        text += f", the fastest file within {width} of the best score ({score_text(best)})"
    if largest is None or largest is chosen:
        return text + "."
    faster = _times(_p90(largest) / _p90(chosen), "faster", "slower") if _p90(chosen) > 0 else ""
    smaller = (
        _times(largest.file_mb / chosen.file_mb, "smaller", "larger") if largest.file_mb and chosen.file_mb else ""
    )
    compared = " and ".join(part for part in (faster, smaller) if part)
    sizes = f", {largest.file_mb:.3g} MB" if largest.file_mb is not None else ""
    return f"{text}; {compared} than {largest.submodel} in fp32 ({_p90(largest):.3g} ms{sizes})."


def score_text(record: Record) -> str:
    """A score for people, with its standard error where it is known: `97.1 ± 0.5 %`."""
    if record.score_percent is None:
        return "-"
    digits = 1 if record.score_error is None or record.score_error >= 0.1 else 2
    error = "" if record.score_error is None else f" ± {record.score_error:.{digits}f}"
    return f"{record.score_percent:.{digits}f}{error} %"


def _times(ratio: float, more: str, less: str) -> str:
    return f"{ratio:.2g}x {more}" if ratio >= 1 else f"{1 / ratio:.2g}x {less}"


def _score(record: Record) -> float:
    return record.score_percent or 0.0


def _p90(record: Record) -> float:
    return record.p90_ms or 0.0
