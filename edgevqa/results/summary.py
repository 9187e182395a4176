"""From a folder of records to what people look at: fronts, recommendation, CSV and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevqa.checkpoints import bundled_names, load_checkpoint
from edgevqa.errors import EdgeVQAError, Inconclusive, MissingExtra
from edgevqa.results.pareto import Group, Row, pareto
from edgevqa.results.plot import check_suffix, write_plot
from edgevqa.results.recommend import Recommendation, recommend
from edgevqa.results.records import read
from edgevqa.results.tables import in_order, write_csv

CSV_NAME, PLOT_NAME = "pareto.csv", "pareto.png"


@dataclass(frozen=True)
class Section:
    """The rows of one group, those of replaced measurements left out.

    Attributes:
        rows: the fastest first; rows that do not count come last.
        recommendation: what to ship; None when no row counts.
        floors: scores in percent that need no picture, by name; empty where they are not known.
        plot: the file of its plot, if one was made.
        notes: what a reader should know about the rows.
    """

    group: Group
    rows: tuple[Row, ...]
    recommendation: Recommendation | None
    floors: Mapping[str, float]
    plot: Path | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """All that `summarise` found and wrote.

    Attributes:
        sections: the group with the most rows that count first.
        rows: every row, replaced ones included, as in the CSV.
        csv: the file with every row.
        problems: broken lines of the records, and why there is no plot.
    """

    sections: tuple[Section, ...]
    rows: tuple[Row, ...]
    csv: Path
    problems: tuple[str, ...]


def summarise(
    results: Path,
    *,
    csv: Path | None = None,
    plot: Path | None = None,
    target: str | None = None,
    include_emulated: bool = False,
) -> Summary:
    """Read the records of a folder, find the fronts, and write the CSV and a plot for each group.

    Args:
        results: the folder.
        csv: where every row goes; by default `pareto.csv` in the folder.
        plot: where the plot goes; by default `pareto.png` in the folder. The plots of further groups get the
            group's name before the suffix.
        target: only show this target; the CSV holds all the same.
        include_emulated: whether emulated rows may lie on fronts.

    Raises:
        InputError: no such folder, or its records cannot be read.
        Inconclusive: nothing was measured, or not on this target.
        UsageError: the plot has an unknown suffix.
        MissingExtra: a plot was asked for by path, and matplotlib is not installed.
        EnvironmentFailure: a file cannot be written.
    """
    plot_wanted, plot = plot is not None, plot or results / PLOT_NAME
    check_suffix(plot)
    reading = read(results)
    rows = pareto(reading.records, include_emulated)
    csv = csv or results / CSV_NAME
    write_csv(csv, rows)
    current = [row for row in rows if not row.replaced and target in (None, row.record.target)]
    if not current:
        there = ", ".join(sorted({row.record.target for row in rows})) or "none"
        raise Inconclusive(f"nothing in {results} was measured on {target}; measured targets: {there}")
    problems = list(reading.problems)
    sections: list[Section] = []
    for group in _by_size(current):
        members = [row for row in in_order(current) if row.group == group]
        members.sort(key=lambda row: not row.counts)
        floors = find_floors(group.task)
        drawn: Path | None = None
        if any(row.counts for row in members):
            drawn = _plot_path(plot, group, first=not sections)
            try:
                write_plot(drawn, members, floors)
            except MissingExtra as error:
                if plot_wanted:
                    raise
                drawn = None
                problems.append(f"no plot: {error}")
        sections.append(Section(group, tuple(members), recommend(members), floors, drawn, tuple(_notes(members))))
    return Summary(tuple(sections), rows, csv, tuple(dict.fromkeys(problems)))


def find_floors(task: str) -> dict[str, float]:
    """The floors of a task such as `scenes v1`, from a bundled checkpoint that was trained on it, or none."""
    for name in bundled_names():
        try:
            checkpoint = load_checkpoint(name)
        except EdgeVQAError:
            continue
        dataset = checkpoint.dataset or {}
        if f"{dataset.get('name')} v{dataset.get('version')}" == task:
            return {key.replace("_", " "): float(score) for key, score in sorted(checkpoint.floors.items())}
    return {}


def _by_size(rows: Sequence[Row]) -> list[Group]:
    counts = Counter(row.group for row in rows if row.counts)
    return sorted({row.group for row in rows}, key=lambda group: (-counts[group], group))


def _plot_path(path: Path, group: Group, first: bool) -> Path:
    if first:
        return path
    words = [group.target, group.protocol, group.task, group.scope]
    name = "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word) for word in words if word)
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a reader should know about the rows that count."""
    counted = [row.record for row in rows if row.counts]
    notes = []
    faults = Counter(record.validity.removeprefix("degraded: ") for record in counted if record.validity != "valid")
    if faults:
        often = "" if len(faults) == 1 else "most often "
        degraded = f"{sum(faults.values())} of {len(counted)} rows are degraded: "
        notes.append(degraded + often + faults.most_common(1)[0][0])
    questions = sorted({record.score_n for record in counted if record.score_n is not None})
    if len(questions) > 1:
        notes.append(
            f"scores come from {' or '.join(map(str, questions))} questions, so compare them with care; "
            "`edgevqa evaluate` scores every file on the full test split"
        )
    unscored = sum(row.record.gate == "unscored" for row in rows)
    if unscored:
        notes.append(f"{unscored} of {len(rows)} rows are unscored: timed, but never on a front")
    return notes
