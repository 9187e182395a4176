"""Percentiles that are honest about how many samples they have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevqa.errors import UsageError
from edgevqa.measure.protocols import PROTOCOLS, Protocol, get_protocol
from edgevqa.measure.statistics import buckets, discarded, early_stopping, summarise

QUICK = get_protocol("quick")


@pytest.mark.parametrize(("percentile", "least"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_least_number_of_queries_is_that_of_mlperf(percentile: float, least: int) -> None:
    assert discarded(least - 1, percentile) is None
    assert discarded(least, percentile) == 0


def test_discarded_queries_are_those_of_mlperf() -> None:
    assert discarded(1024, 0.9) == 79
    assert discarded(1024, 0.99) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_discarded_is_the_largest_number_that_the_definition_allows(count: int, percentile: float) -> None:
    def probability(slower: int) -> float:
        terms = range(slower + 1)
        return sum(math.comb(count, k) * (1 - percentile) ** k * percentile ** (count - k) for k in terms)

    allowed = [t for t in range(1, count) if probability(t) < 0.01]
    assert discarded(count, percentile) == (max(allowed) - 1 if allowed else None)


def test_many_samples_are_no_trouble() -> None:
    away = discarded(2_500_000, 0.9)
    assert away is not None
    assert 248_000 < away < 250_000


def test_estimate_is_the_next_slowest() -> None:
    samples = np.arange(1, 1025)
    assert early_stopping(samples, 0.9) == 1024 - 79
    assert early_stopping(samples[:63], 0.9) is None
    assert early_stopping(samples[:64], 0.9) == 64


def test_summary_in_milliseconds() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1, 1001)) * 1_000_000
    summary = summarise([samples], QUICK)
    assert (summary.n, summary.min_ms, summary.p50_ms, summary.mean_ms) == (1000, 1.0, 500.5, 500.5)
    assert summary.std_ms == pytest.approx(np.std(np.arange(1, 1001), ddof=1))
    assert summary.p90_ms is not None
    assert 900 < summary.p90_ms < 1000
    assert summary.process_spread_ms is None
    assert summary.percentiles_reason is None
    assert summary.buckets_p50_ms is None


def test_figures_with_too_few_samples_are_withheld_and_named() -> None:
    summary = summarise([np.full(100, 2_000_000)], QUICK)
    assert (summary.p50_ms, summary.p90_ms, summary.p99_ms) == (2.0, 2.0, None)
    assert summary.percentiles_reason == "p99: only 100 queries were timed"
    lone = summarise([np.array([5_000_000])], QUICK)
    assert (lone.min_ms, lone.p50_ms, lone.p90_ms, lone.p99_ms, lone.std_ms) == (5.0, None, None, None, None)
    assert lone.percentiles_reason == "p50 and p90 and p99: only 1 queries were timed"


def test_processes_are_pooled_and_their_spread_is_reported() -> None:
    processes = [np.full(400, value) for value in (1_000_000, 2_000_000, 3_000_000)]
    summary = summarise(processes, get_protocol("standard"))
    assert (summary.n, summary.p50_ms, summary.process_spread_ms) == (1200, 2.0, 1.0)


def test_buckets_show_a_drift() -> None:
    samples = np.concatenate([np.full(100, 10_000_000), np.full(50, 20_000_000), np.full(5, 20_000_000)])
    assert buckets(samples, 1.0) == (10.0, 20.0)


def test_protocols_share_their_minima_between_processes() -> None:
    assert {"smoke", "quick", "standard", "sustained"} == set(PROTOCOLS)
    job = get_protocol("standard").job()
    assert job["minimum_queries"] * 3 >= 1024
    assert job["minimum_seconds"] * 3 == 60
    assert job["maximum_seconds"] * 3 == 600
    assert Protocol("own", 10, 1.0, 5.0).timeout_s > 10
    with pytest.raises(UsageError, match="did you mean quick"):
        get_protocol("quik")


@pytest.mark.parametrize(("name", "percentile"), [("smoke", 0.9), ("quick", 0.9), ("standard", 0.99)])
def test_protocols_allow_what_they_promise(name: str, percentile: float) -> None:
    protocol = get_protocol(name)
    assert discarded(int(protocol.job()["minimum_queries"]) * protocol.processes, percentile) is not None
