"""The Pareto plot: score against p90 latency, one comparable group, sized for one column of a paper."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import Inconclusive, MissingExtra, UsageError
from edgevqa.measure.record import Record
from edgevqa.results.labels import Box, place_labels
from edgevqa.results.pareto import Row
from edgevqa.storage import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, AXES_INCHES = 3.5, 2.4
DOTS_PER_INCH = 200
LEAST_SPACE = 4.0
"""Points of score that the axis shows at least."""
LEGEND_COLUMNS, LEGEND_ROW_INCHES = 2, 0.14
LABEL_SIZE = 6
LEADER_FROM = 7.0
"""From this distance on, in 1/72 inch, or when another point is nearer, a thin line leads to the point."""
LABEL_APART = 20.0
"""Points of the same submodel that are nearer than this, in 1/72 inch, share a label."""
SUFFIXES = (".png", ".pdf", ".svg")

# Okabe and Ito's palette, told apart with every kind of colour vision.
COLOURS = {"fp32": "#0072B2", "fp16": "#CC79A7", "int8": "#D55E00"}
OTHER_COLOUR = "#555555"
MARKERS = {"onnxruntime": "o", "litert": "^", "tflite_runtime": "s"}
OTHER_MARKER = "D"
RUNTIMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT", "tflite_runtime": "tflite-runtime"}

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "pdf.fonttype": 42,
    "svg.hashsalt": "edgevqa",
}


def write_plot(path: Path, rows: Sequence[Row], floors: Mapping[str, float] | None = None) -> None:
    """Draw the rows of one group and write the plot; equal rows give equal bytes.

    Args:
        path: ends in .png, .pdf or .svg.
        rows: the rows of one group; those that do not count are left out.
        floors: scores in percent that need no picture, by name (`question only`), drawn as dotted lines.

    Raises:
        UsageError: another suffix, or rows of several groups.
        Inconclusive: no row counts.
        MissingExtra: matplotlib is not installed.
        EnvironmentFailure: the file cannot be written.
    """
    check_suffix(path)
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    settings: Any = {**mpl.rcParamsDefault, **SETTINGS}  # whatever the user's own matplotlibrc says
    with mpl.rc_context(settings):
        figure = draw(rows, floors)
        stream = io.BytesIO()
        # Without dates and versions the same rows are the same bytes.
        metadata: dict[str, dict[str, Any]] = {
            ".png": {"Software": None},
            ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
            ".svg": {"Date": None, "Creator": None},
        }
        figure.savefig(stream, format=path.suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata[path.suffix])
    write_bytes(path, stream.getvalue())


def check_suffix(path: Path) -> None:
    """Raise UsageError when a plot cannot be written under this name."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"a plot is written as {', '.join(SUFFIXES)}, not as {path.suffix or path.name!r}")


def draw(rows: Sequence[Row], floors: Mapping[str, float] | None = None) -> Figure:
    """The plot as a matplotlib figure, see `write_plot`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counted = [row for row in rows if row.counts]
    if not counted:
        raise Inconclusive("no row was gated, valid, scored and measured, so there is nothing to plot")
    if len({row.group for row in counted}) > 1:
        raise UsageError("the rows are of several targets, protocols or tasks, which do not share a plot")
    front = sorted((row.record for row in counted if "p90" in row.fronts), key=_x)

    kinds = {(row.record.runtime, row.record.precision) for row in counted}
    legend_rows = math.ceil((len(kinds) + 1) / LEGEND_COLUMNS)
    height = AXES_INCHES + legend_rows * LEGEND_ROW_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _limits(axes, [row.record for row in counted])
    if front:
        _front_line(axes, front)
    _points(axes, counted)
    _floors(axes, floors or {})
    _axis_texts(axes, counted)
    figure.legend(
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.2,
        fontsize=6.5,
    )
    figure.draw_without_rendering()
    # Labels are placed on the finished layout, which they must not change any more.
    figure.set_layout_engine("none")
    if front:
        _label_front(figure, axes, front, [row.record for row in counted])
    return figure


def _limits(axes: Axes, records: Sequence[Record]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    low, high = min(map(_x, records)), max(map(_x, records))
    margin = max(1.12, (high / low) ** 0.07, math.sqrt(4 * low / high))  # a factor of 4 shows two ticks or more
    left, right = low / margin**1.4, high * margin  # labels stand to the left of their points
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    ticks = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(left)) - 1, math.ceil(math.log10(right)) + 1)
        for factor in (1, 2, 5)
    ]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if left <= tick <= right]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    bottom, top = min(map(_y, records)), max(map(_y, records))
    space = max(top - bottom, LEAST_SPACE)
    spare = (space - (top - bottom)) / 2
    axes.set_ylim(bottom - spare - 0.1 * space, min(top + spare + 0.14 * space, 101.0))
    axes.grid(True, which="major", linewidth=0.3, color="#dddddd")
    axes.set_axisbelow(True)


def _front_line(axes: Axes, front: Sequence[Record]) -> None:
    """Steps: what can be had at most within a latency, up to the right edge."""
    latencies, scores = zip(*_corners(axes, front), strict=True)
    axes.plot(latencies, scores, color="#888888", linewidth=0.9, zorder=2, label="Pareto front (filled)")


def _corners(axes: Axes, front: Sequence[Record]) -> list[tuple[float, float]]:
    """The corners of the front's steps: each score holds until the next point, the last to the right edge."""
    corners: list[tuple[float, float]] = []
    for record in front:
        if corners:
            corners.append((_x(record), corners[-1][1]))
        corners.append((_x(record), _y(record)))
    return [*corners, (axes.get_xlim()[1], corners[-1][1])]


def _points(axes: Axes, rows: Sequence[Row]) -> None:
    def order(key: tuple[str, str]) -> tuple[int, str, int, str]:
        runtime, precision = key
        return (_index(MARKERS, runtime), runtime, _index(COLOURS, precision), precision)

    kinds = sorted({(row.record.runtime, row.record.precision) for row in rows}, key=order)
    for runtime, precision in kinds:
        colour, marker = COLOURS.get(precision, OTHER_COLOUR), MARKERS.get(runtime, OTHER_MARKER)
        mine = [row for row in rows if (row.record.runtime, row.record.precision) == (runtime, precision)]
        others = [row.record for row in mine if "p90" not in row.fronts]
        best = [row.record for row in mine if "p90" in row.fronts]
        axes.scatter(
            [*map(_x, others)], [*map(_y, others)], s=14, marker=marker, facecolors="none", edgecolors=colour,
            linewidths=0.6, alpha=0.75, zorder=3,
        )  # fmt: skip
        axes.scatter(
            [*map(_x, best)], [*map(_y, best)], s=20, marker=marker, facecolors=colour, edgecolors="black",
            linewidths=0.5, zorder=5, label=f"{RUNTIMES.get(runtime, runtime)}, {precision}",
        )  # fmt: skip
        errors = [record for record in best if record.score_error]
        axes.errorbar(
            [*map(_x, errors)], [*map(_y, errors)], yerr=[record.score_error or 0.0 for record in errors],
            fmt="none", ecolor="#888888", elinewidth=0.5, zorder=4,
        )  # fmt: skip


def _floors(axes: Axes, floors: Mapping[str, float]) -> None:
    """A dotted line for each floor near the points, a note at the edge for one far below."""
    low, high = axes.get_ylim()
    near = {name: score for name, score in floors.items() if low - (high - low) <= score <= high}
    if near:
        axes.set_ylim(min(low, min(near.values()) - 0.06 * (high - low)), high)
    for name, score in near.items():
        axes.axhline(score, linestyle=":", linewidth=0.7, color="#555555", zorder=1)
        axes.annotate(
            f"{name} {score:.1f} %", (1, score), xycoords=("axes fraction", "data"), xytext=(0, 1.5),
            textcoords="offset points", ha="right", va="bottom", fontsize=6, color="#555555",
        )  # fmt: skip
    far = [f"{name} {score:.1f} %" for name, score in floors.items() if name not in near]
    if far:
        axes.annotate(
            f"below: {', '.join(far)}", (1, 0), xycoords="axes fraction", xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=6, color="#555555",
        )  # fmt: skip


def _axis_texts(axes: Axes, rows: Sequence[Row]) -> None:
    group = rows[0].group
    counts = sorted({row.record.threads for row in rows})
    threads = "1 thread" if counts == [1] else f"{', '.join(map(str, counts))} threads"
    kind = "" if group.basis == "measured" else f", {group.basis}"
    axes.set_xlabel(f"p90 latency on {group.target}, {threads}{kind} (ms)")
    axes.set_ylabel(f"{group.score[0].upper()}{group.score[1:]} on {group.task} (%)")


def _label_front(figure: Figure, axes: Axes, front: Sequence[Record], records: Sequence[Record]) -> None:
    """Write the submodels' names beside the points of the front, without overlap."""
    scale = figure.dpi / 72
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]

    def pixels(record: Record) -> tuple[float, float]:
        x, y = axes.transData.transform((_x(record), _y(record)))
        return float(x), float(y)

    whole_front, front = front, _worth_a_label(front, pixels, LABEL_APART * scale)
    anchors = [pixels(record) for record in front]
    sizes = []
    for record in front:
        text = axes.text(0, 0, record.submodel, fontsize=LABEL_SIZE)
        extent = text.get_window_extent(renderer)
        sizes.append((float(extent.width), float(extent.height)))
        text.remove()
    frame = axes.get_window_extent(renderer)
    bounds = Box(float(frame.x0), float(frame.y0), float(frame.x1), float(frame.y1))
    steps = [axes.transData.transform(point) for point in _corners(axes, whole_front)]
    line = [(float(x), float(y)) for x, y in steps]
    boxes = place_labels(anchors, sizes, [pixels(record) for record in records], line, bounds, scale)
    for record, anchor, box in zip(front, anchors, boxes, strict=True):
        if box is None:
            continue
        distance = box.distance(anchor)
        nearest = min(box.distance(pixels(other)) for other in whole_front)
        leader = {"arrowstyle": "-", "linewidth": 0.4, "color": "#888888", "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            record.submodel,
            (_x(record), _y(record)),
            xytext=((box.left - anchor[0]) / scale, (box.bottom - anchor[1]) / scale),
            textcoords="offset points",
            va="bottom",
            fontsize=LABEL_SIZE,
            zorder=6,
            arrowprops=leader if distance > min(nearest, LEADER_FROM * scale) else None,
        )


def _worth_a_label(
    front: Sequence[Record], pixels: Callable[[Record], tuple[float, float]], apart: float
) -> list[Record]:
    """The front's points without those beside another one of the same submodel, whose label serves both."""
    worth: list[Record] = []
    for record in front:
        same = (other for other in worth if other.submodel == record.submodel)
        if all(math.dist(pixels(record), pixels(other)) > apart for other in same):
            worth.append(record)
    return worth


def _index(table: Mapping[str, str], key: str) -> int:
    return list(table).index(key) if key in table else len(table)


def _x(record: Record) -> float:
    return record.p90_ms or 0.0


def _y(record: Record) -> float:
    return record.score_percent or 0.0
