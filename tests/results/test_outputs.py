"""CSV, plot, labels and recommendation."""

from __future__ import annotations

import dataclasses
import io
import random
import sys
from dataclasses import replace
from itertools import pairwise

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgevqa.errors import EnvironmentFailure, Inconclusive, MissingExtra, UsageError
from edgevqa.measure.record import Record
from edgevqa.results.labels import Box, place_labels
from edgevqa.results.pareto import pareto
from edgevqa.results.plot import DOTS_PER_INCH, WIDTH_INCHES, draw, write_plot
from edgevqa.results.recommend import recommend
from edgevqa.results.tables import frame, write_csv


def test_the_csv_holds_every_row_and_every_field(tmp_path, forty) -> None:
    records = [*forty, replace(forty[0], gate="failed", gate_reason='a "quoted", reason', n=0, p90_ms=None)]
    path = tmp_path / "pareto.csv"
    write_csv(path, pareto(records))
    table = pandas.read_csv(path)
    assert len(table) == 41
    assert list(table.columns) == [field.name for field in dataclasses.fields(Record)] + ["fronts", "why_not"]
    by_run = table[table.gate == "passed"].set_index("run_id")
    for record in forty[1:]:
        assert by_run.p90_ms[record.run_id] == record.p90_ms
    failed = table[table.gate == "failed"].iloc[0]
    assert failed.why_not == 'gate failed: a "quoted", reason' and pandas.isna(failed.p90_ms)
    assert set(by_run.fronts.dropna()) <= {
        "p90",
        "p90 size",
        "size",
        "memory",
        "size memory",
        "p90 size memory",
    }


def test_equal_rows_are_equal_bytes_in_any_order(tmp_path, forty) -> None:
    rows = list(pareto(forty))
    contents = set()
    for number in range(3):
        random.Random(number).shuffle(rows)
        write_csv(tmp_path / "p.csv", rows)
        contents.add((tmp_path / "p.csv").read_bytes())
    assert len(contents) == 1


def test_an_integer_stays_one_and_a_gap_stays_empty(forty) -> None:
    table = frame(pareto(forty))
    assert isinstance(table.parameters[0], int)
    assert table.energy_gross_j[0] is None


def test_a_csv_that_cannot_be_written_leaves_nothing(tmp_path, forty) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFailure):
        write_csv(tmp_path / "file" / "p.csv", pareto(forty))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_equal_rows_are_equal_plots(tmp_path, forty, suffix) -> None:
    contents = set()
    for name in "ab":
        write_plot(tmp_path / (name + suffix), pareto(forty), {"question only": 61.3})
        contents.add((tmp_path / (name + suffix)).read_bytes())
    assert len(contents) == 1
    assert b"20" + b"26" not in contents.pop() or suffix == ".png"  # no date in the text formats


def test_the_png_is_one_column_wide(tmp_path, forty) -> None:
    write_plot(tmp_path / "p.png", pareto(forty))
    image = Image.open(io.BytesIO((tmp_path / "p.png").read_bytes()))
    assert image.width == WIDTH_INCHES * DOTS_PER_INCH


def test_the_plot_shows_the_front_and_labels_each_of_its_submodels(forty) -> None:
    rows = pareto(forty)
    axes = draw(rows, {"question only": 61.3}).axes[0]
    front = sorted((row.record.p90_ms, row.record.score_percent) for row in rows if "p90" in row.fronts)
    line = next(line for line in axes.lines if line.get_label().startswith("Pareto front"))
    corners = list(zip(*line.get_data(), strict=True))
    assert set(front) <= set(corners)
    assert all(later[1] >= earlier[1] for earlier, later in pairwise(corners))
    texts = [text.get_text() for text in axes.texts]
    assert {row.record.submodel for row in rows if "p90" in row.fronts} <= set(texts)
    assert "below: question only 61.3 %" in texts
    assert axes.get_xscale() == "log"


def test_a_floor_near_the_points_is_a_dotted_line(forty) -> None:
    axes = draw(pareto(forty), {"question only": 84.3}).axes[0]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [84.3]


def test_what_cannot_be_plotted(tmp_path, make_record, monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"written as \.png, \.pdf, \.svg, not as '\.jpg'"):
        write_plot(tmp_path / "p.jpg", pareto([make_record()]))
    with pytest.raises(Inconclusive, match="nothing to plot"):
        write_plot(tmp_path / "p.png", pareto([make_record(gate="failed")]))
    two = [make_record(), make_record(target="arm64")]
    with pytest.raises(UsageError, match="several targets"):
        write_plot(tmp_path / "p.png", pareto(two))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"edgevqa\[report\]"):
        write_plot(tmp_path / "p.png", pareto([make_record()]))
    assert list(tmp_path.iterdir()) == []


def test_a_single_row_can_be_plotted(tmp_path, make_record) -> None:
    write_plot(tmp_path / "p.png", pareto([make_record(score_error=None, score_percent=100.0)]))
    assert (tmp_path / "p.png").exists()


COORDINATES = st.tuples(st.floats(0, 500), st.floats(0, 400))


@given(st.lists(COORDINATES, max_size=15), st.lists(COORDINATES, max_size=20))
def test_labels_overlap_neither_each_other_nor_points_nor_the_edge(anchors, others) -> None:
    bounds = Box(0, 0, 500, 400)
    points = [*anchors, *others]
    boxes = place_labels(anchors, [(50.0, 12.0)] * len(anchors), points, [], bounds, 2.0)
    placed = [box for box in boxes if box is not None]
    assert len(boxes) == len(anchors)
    for index, box in enumerate(placed):
        assert box.within(bounds)
        assert not any(box.overlaps(other) for other in placed[:index])
        assert not any(box.left < x < box.right and box.bottom < y < box.top for x, y in points)


def test_a_lone_label_stands_beside_its_point() -> None:
    (box,) = place_labels([(250.0, 200.0)], [(50.0, 12.0)], [(250.0, 200.0)], [], Box(0, 0, 500, 400), 2.0)
    assert box is not None and box.distance((250.0, 200.0)) < 15


def test_the_fastest_within_one_standard_error_of_the_best_is_shipped(make_record) -> None:
    def row(name: str, **changed):
        return make_record(submodel=name, artifact=f"artifacts/{name}", artifact_sha256=name.ljust(64, "0"), **changed)

    rows = pareto(
        [
            row("full", score_percent=97.0, score_error=0.5, p90_ms=8.0, file_mb=40.0, parameters=9),
            row("half", score_percent=96.5, score_error=0.6, p90_ms=2.0, file_mb=10.0, parameters=4),
            row("tiny", score_percent=96.4, score_error=0.6, p90_ms=1.0, file_mb=4.0, parameters=1),
            row("fake", score_percent=99.0, gate="failed"),
        ]
    )
    found = recommend(rows)
    assert found is not None
    assert (found.record.submodel, found.best.submodel, found.largest.submodel) == ("half", "full", "full")
    assert found.sentence == (
        "Ship artifacts/half, run in onnxruntime: 96.5 ± 0.6 % right at p90 2 ms and 10 MB on x86, "
        "the fastest file within one standard error of the best score (97.0 ± 0.5 %); "
        "4x faster and 4x smaller than full in fp32 (8 ms, 40 MB)."
    )


def test_near_one_hundred_percent_a_single_question_makes_no_difference(make_record) -> None:
    full = make_record(score_percent=100.0, score_error=0.0, score_n=8000, p90_ms=8.0)
    for percent, chosen in ((99.9875, "half"), (99.975, "w1-d6")):
        rows = {"submodel": "half", "artifact": "artifacts/half", "artifact_sha256": "2" * 64, "p90_ms": 2.0}
        half = make_record(**rows, score_percent=percent, score_error=0.0125, score_n=8000)
        found = recommend(pareto([dataclasses.replace(full, submodel="w1-d6"), half]))
        assert found is not None and found.record.submodel == chosen
        if chosen == "half":
            assert "99.99 ± 0.01 % right" in found.sentence
            assert "within one question of the best score (100.00 ± 0.00 %)" in found.sentence


def test_the_comparison_stays_in_the_runtime_and_admits_what_is_slower(make_record) -> None:
    rows = pareto(
        [
            make_record(precision="int8", runtime="litert", p90_ms=2.0, file_mb=1.0, score_percent=96.0),
            make_record(runtime="litert", p90_ms=1.0, score_percent=90.0, artifact="b", artifact_sha256="2" * 64),
            make_record(p90_ms=0.5, score_percent=90.0, artifact="c", artifact_sha256="3" * 64),
        ]
    )
    found = recommend(rows)
    assert found is not None and found.largest is rows[1].record
    assert found.sentence.endswith("the best score of all; 2x slower and 4x smaller than w0.5-d6 in fp32 (1 ms, 4 MB).")


def test_nothing_is_recommended_where_nothing_counts(make_record) -> None:
    assert recommend(pareto([make_record(gate="failed")])) is None
    alone = recommend(pareto([make_record(file_mb=None)]))
    assert alone is not None and alone.sentence.endswith("on x86, the best score of all.")
