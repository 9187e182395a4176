"""Fronts: who lies on them, who may, and who is compared with whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.results.pareto import COSTS, describe, not_dominated, pareto

# Few distinct values, so that ties of every kind happen often.
POINTS = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(1, 5).map(float)), max_size=12)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


@given(POINTS)
def test_a_point_stays_exactly_if_no_other_beats_it(points) -> None:
    assert not_dominated(points) == [not any(beats(other, point) for other in points) for point in points]


@given(POINTS, st.randoms())
def test_the_order_of_points_does_not_matter(points, random) -> None:
    shuffled = random.sample(range(len(points)), len(points))
    stays = not_dominated([points[index] for index in shuffled])
    assert [not_dominated(points)[index] for index in shuffled] == stays


def test_forty_rows_are_counted_and_each_front_is_right(forty) -> None:
    rows = pareto(forty)
    assert [row.record for row in rows] == forty
    assert all(row.counts and not row.replaced for row in rows)
    for front, field in COSTS.items():
        points = [(record.score_percent, getattr(record, field)) for record in forty]
        expected = [not any(beats(other, point) for other in points) for point in points]
        assert [front in row.fronts for row in rows] == expected
    assert all(bool(row.fronts) == (row.why_not == "") for row in rows)


def test_a_beaten_row_names_one_that_beats_it(make_record) -> None:
    slow = make_record(p90_ms=2.0, file_mb=9.0, peak_rss_mb=99.0, artifact="a", artifact_sha256="1" * 64)
    fast = make_record(submodel="w0.25-d1", score_percent=95.5, artifact="b", artifact_sha256="2" * 64)
    rows = pareto([slow, fast])
    assert rows[0].fronts == () and rows[0].why_not == "beaten by w0.25-d1 onnx-fp32 in onnxruntime"
    assert rows[1].fronts == ("p90", "size", "memory") and rows[1].why_not == ""


def test_equal_rows_share_a_front(make_record) -> None:
    twins = [make_record(artifact=name, artifact_sha256=name * 64) for name in "ab"]
    assert [row.fronts for row in pareto(twins)] == [("p90", "size", "memory")] * 2


def test_a_row_is_replaced_only_by_one_on_the_same_delegate(make_record) -> None:
    rows = [
        make_record(delegate="XNNPACK"),
        make_record(delegate="GPU", requested_delegate="gpu", adapter="Adreno", experiment_id="b"),
        make_record(delegate="XNNPACK", requested_delegate="cpu", experiment_id="c"),
    ]
    assert [row.replaced for row in pareto(rows)] == [True, False, False]
    assert describe(rows[1]).endswith(f"in {rows[1].runtime} on Adreno")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gate": "failed", "gate_reason": "logits differ"}, "gate failed: logits differ"),
        ({"gate": "unscored", "gate_reason": "untrained weights"}, "gate unscored: untrained weights"),
        ({"validity": "invalid: the device throttled its clock"}, "invalid: the device throttled its clock"),
        ({"n": 0}, "invalid: nothing was timed"),
        ({"basis": "emulated"}, "emulated, not measured"),
        ({"basis": "predicted"}, "predicted, not measured"),
        ({"fell_back": "no gpu", "delegate": "XNNPACK"}, "not what was asked for ran, but XNNPACK: no gpu"),
        ({"protocol": "smoke"}, "the smoke protocol only shows that everything runs"),
        ({"score_percent": None}, "no score"),
        (
            {"p90_ms": None, "percentiles_reason": "p90: only 12 queries were timed"},
            "withheld p90: only 12 queries were timed",
        ),
    ],
)
def test_who_may_not_lie_on_a_front(make_record, changed, reason) -> None:
    (row,) = pareto([make_record(**changed)])
    assert (row.fronts, row.counts, row.why_not) == ((), False, reason)


@pytest.mark.parametrize("validity", ["valid", "degraded: unknown governor", "degraded: turbo is on"])
def test_degraded_rows_may(make_record, validity) -> None:
    (row,) = pareto([make_record(validity=validity)])
    assert row.fronts == ("p90", "size", "memory")


def test_a_row_that_does_not_count_pushes_nobody_off(make_record) -> None:
    good = make_record()
    better = make_record(score_percent=99.0, p90_ms=0.1, gate="failed", artifact="x", artifact_sha256="9" * 64)
    assert [row.fronts for row in pareto([better, good])] == [(), ("p90", "size", "memory")]


def test_an_unknown_memory_only_costs_that_front(make_record) -> None:
    (row,) = pareto([make_record(peak_rss_mb=None)])
    assert row.fronts == ("p90", "size")


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "arm64"},
        {"protocol": "standard"},
        {"task": "easy-vqa v1"},
        {"scope": "picture to answer"},
    ],
)
def test_what_cannot_be_compared_shares_no_front(make_record, changed) -> None:
    best = make_record(score_percent=99.0, p90_ms=0.1, file_mb=0.1, peak_rss_mb=1.0)
    other = make_record(**changed, artifact="x", artifact_sha256="9" * 64)
    assert [row.fronts for row in pareto([best, other])] == [("p90", "size", "memory")] * 2


def test_emulated_rows_form_their_own_front_when_asked_for(make_record) -> None:
    measured = make_record()
    emulated = make_record(basis="emulated", score_percent=99.0, p90_ms=0.01, artifact="x", artifact_sha256="9" * 64)
    assert [row.fronts for row in pareto([measured, emulated])] == [("p90", "size", "memory"), ()]
    rows = pareto([measured, emulated], include_emulated=True)
    assert [row.fronts for row in rows] == [("p90", "size", "memory")] * 2
    assert rows[0].group != rows[1].group


def test_the_newest_row_counts_even_when_it_is_worse(make_record) -> None:
    old, new = make_record(p90_ms=0.5, run_id="1"), make_record(p90_ms=2.0, run_id="2")
    rows = pareto([old, new])
    assert [(row.replaced, row.fronts) for row in rows] == [(True, ()), (False, ("p90", "size", "memory"))]
    assert rows[0].why_not == "a newer row replaces it"
    failed = replace(new, gate="failed", gate_reason="logits differ")
    assert [row.fronts for row in pareto([old, failed])] == [(), ()]


def test_a_file_exported_anew_replaces_the_old_one_and_a_moved_file_itself(make_record) -> None:
    old = make_record(artifact_sha256="1" * 64)
    anew = make_record(artifact_sha256="2" * 64)
    assert [row.replaced for row in pareto([old, anew])] == [True, False]
    moved = make_record(artifact_sha256="1" * 64, artifact="elsewhere")
    assert [row.replaced for row in pareto([old, moved])] == [True, False]


@pytest.mark.parametrize("changed", [{"threads": 2}, {"runtime": "litert"}, {"target": "arm64"}, {"core_mask": "0x1"}])
def test_another_way_of_measuring_replaces_nothing(make_record, changed) -> None:
    assert not any(row.replaced for row in pareto([make_record(), make_record(**changed)]))


def test_a_row_in_words(make_record) -> None:
    assert describe(make_record()) == "w0.5-d6 onnx-fp32 in onnxruntime"
    variant = make_record(artifact="a/tflite-int8-weight-only", format="tflite", precision="int8", threads=4)
    assert describe(variant) == "w0.5-d6 tflite-int8-weight-only in onnxruntime, 4 threads"
