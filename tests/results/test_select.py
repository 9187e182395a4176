"""Choosing under limits, and saying why nothing can be chosen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevqa.devices.targets import Limits
from edgevqa.errors import GateFailed, Inconclusive, UsageError
from edgevqa.results.select import select


def named(make_record, name: str, **changed):
    return make_record(submodel=name, artifact=name, artifact_sha256=name.ljust(64, "0"), **changed)


def test_without_limits_the_best_score_wins_then_latency_then_size(make_record) -> None:
    rows = [
        named(make_record, "a", score_percent=90.0, p90_ms=0.1),
        named(make_record, "b", score_percent=96.0, p90_ms=2.0),
        named(make_record, "c", score_percent=96.0, p90_ms=1.0, file_mb=5.0),
        named(make_record, "d", score_percent=96.0, p90_ms=1.0, file_mb=4.0),
    ]
    chosen = select(rows, "x86", Limits())
    assert (chosen.record.submodel, chosen.within, chosen.considered) == ("d", 4, 4)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9), st.floats(50, 99)), min_size=1, max_size=8),
    st.floats(0.1, 9),
    st.floats(0.1, 9),
)
def test_the_best_of_those_within_all_limits(make_record, figures, p90, size) -> None:
    rows = [
        named(make_record, str(index), p90_ms=ms, file_mb=mb, score_percent=score)
        for index, (ms, mb, score) in enumerate(figures)
    ]
    within = [row for row in rows if row.p90_ms <= p90 and row.file_mb <= size]
    if within:
        chosen = select(rows, "x86", Limits(p90_ms=p90, file_mb=size))
        assert chosen.record in within
        assert chosen.record.score_percent == max(row.score_percent for row in within)
        assert chosen.within == len(within)
    else:
        with pytest.raises(GateFailed):
            select(rows, "x86", Limits(p90_ms=p90, file_mb=size))


def test_when_nothing_holds_the_nearest_is_named(make_record) -> None:
    rows = [
        named(make_record, "small", p90_ms=1.2, file_mb=1.0, score_percent=88.0),
        named(make_record, "large", p90_ms=9.0, file_mb=9.0),
    ]
    with pytest.raises(GateFailed) as caught:
        select(rows, "x86", Limits(p90_ms=1.0, file_mb=5.0))
    assert str(caught.value) == (
        "none of 2 measured files on x86 holds p90 <= 1 ms, file <= 5 MB; "
        "the nearest is small onnx-fp32 in onnxruntime: p90 1.2 ms, file 1 MB, 88.0 %"
    )


def test_a_figure_that_was_not_measured_is_inconclusive_not_a_pass(make_record) -> None:
    with pytest.raises(Inconclusive, match=r"1 of 1 lack energy \(no energy sensor is configured\)"):
        select([make_record()], "x86", Limits(energy_j=1.0))
    withheld = make_record(p90_ms=None, percentiles_reason="p90: only 12 queries were timed")
    with pytest.raises(Inconclusive, match="only 12 queries"):
        select([withheld], "x86", Limits(p90_ms=1.0))
    with pytest.raises(Inconclusive):
        select([withheld], "x86", Limits())


def test_a_missing_figure_does_not_hide_a_miss(make_record) -> None:
    with pytest.raises(GateFailed):
        select([make_record(p90_ms=5.0)], "x86", Limits(p90_ms=1.0, energy_j=1.0))


def test_a_better_row_with_a_missing_figure_is_mentioned(make_record) -> None:
    known = named(make_record, "a", energy_gross_j=0.5, score_percent=90.0)
    unknown = named(make_record, "b", score_percent=96.0)
    worse = named(make_record, "c", score_percent=80.0)
    chosen = select([known, unknown, worse], "x86", Limits(energy_j=1.0))
    assert chosen.record is known and chosen.unknown == (unknown,)


@pytest.mark.parametrize(
    "changed",
    [{"gate": "failed"}, {"gate": "unscored"}, {"basis": "emulated"}, {"validity": "invalid: load"}],
)
def test_only_gated_valid_measured_rows_are_chosen(make_record, changed) -> None:
    with pytest.raises(Inconclusive, match="none of the 1 rows on x86 can be chosen"):
        select([make_record(**changed)], "x86", Limits())


def test_nothing_on_this_target(make_record) -> None:
    with pytest.raises(Inconclusive, match="nothing was measured on arm64; run `edgevqa bench --target arm64`"):
        select([make_record()], "arm64", Limits())


def test_protocols_are_not_mixed(make_record) -> None:
    quick = [named(make_record, name, score_percent=90.0) for name in "ab"]
    standard = named(make_record, "c", protocol="standard", score_percent=99.0)
    assert select([*quick, standard], "x86", Limits()).record.protocol == "quick"
    assert select([*quick, standard], "x86", Limits(), protocol="standard").record is standard
    assert select([quick[0], standard], "x86", Limits()).record is standard
    with pytest.raises(Inconclusive, match="with the protocol sustained, only with quick"):
        select(quick, "x86", Limits(), protocol="sustained")


def test_tasks_are_not_mixed(make_record) -> None:
    rows = [make_record(), named(make_record, "p", model="easy-vqa", task="easy-vqa v1", score_percent=99.9)]
    with pytest.raises(UsageError, match="cannot be compared; name one model with --model: easy-vqa, scenes"):
        select(rows, "x86", Limits())
    assert select(rows, "x86", Limits(), model="scenes").record is rows[0]


def test_replaced_rows_are_not_chosen(make_record) -> None:
    old, new = make_record(score_percent=99.0), make_record(score_percent=80.0)
    assert select([old, new], "x86", Limits()).record is new


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_is_above_zero(make_record, limit) -> None:
    with pytest.raises(UsageError, match="the limit of p90 must be above 0"):
        select([make_record()], "x86", Limits(p90_ms=limit))
