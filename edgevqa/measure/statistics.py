"""What is said about a set of latencies, and what is withheld because they are too few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgevqa.measure.protocols import Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int64]

CONFIDENCE = 0.99
MEDIAN_QUERIES = 11  # as many as an early-stopping estimate of p50 needs


def discarded(count: int, percentile: float, confidence: float = CONFIDENCE) -> int | None:
    """How many of the slowest queries may be discarded so that the next slowest stands for a percentile.

    This is MLPerf's early stopping with tolerance 0 (MLPerf Inference Rules, appendix on early stopping). Let
    the true share of queries slower than the estimate be 1 - percentile. With t the largest number for which
    seeing t or fewer of them is less probable than 1 - confidence, the t - 1 slowest are discarded.

    Args:
        count: how many queries were timed.
        percentile: between 0 and 1.
        confidence: that the true percentile is no worse than the estimate.

    Returns:
        t - 1, or None where `count` is too small for t = 1 (p50 needs 11 queries, p90 64, p95 130, p99 662).
    """
    if count < 2:
        return None
    # binomial probabilities of 0, 1, 2, ... slower queries, each from the one before, as logarithms
    number = np.arange(count, dtype=np.float64)
    steps = np.log(count - number) - np.log(number + 1) + math.log((1 - percentile) / percentile)
    logarithms = count * math.log(percentile) + np.concatenate(([0.0], np.cumsum(steps)))
    cumulative = np.cumsum(np.exp(logarithms))
    largest = int(np.searchsorted(cumulative, 1 - confidence, side="left")) - 1
    return largest - 1 if largest >= 1 else None


def early_stopping(sorted_samples: Samples, percentile: float) -> float | None:
    """MLPerf's estimate of a percentile, see `discarded`, or None where there are too few samples.

    Args:
        sorted_samples: (n,), ascending.
        percentile: between 0 and 1.
    """
    away = discarded(len(sorted_samples), percentile)
    return None if away is None else float(sorted_samples[len(sorted_samples) - 1 - away])


@dataclass(frozen=True)
class Summary:
    """Latencies in ms; `p90_ms` and `p99_ms` are early-stopping estimates, `p50_ms` is the plain median.

    A figure is None where the samples are too few for it, and `percentiles_reason` says so. The standard
    deviation between the medians of the processes, `process_spread_ms`, is None for a single one.
    """

    n: int
    min_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    std_ms: float | None
    process_spread_ms: float | None
    buckets_p50_ms: tuple[float, ...] | None
    percentiles_reason: str | None


def buckets(samples: Samples, seconds: float) -> tuple[float, ...]:
    """The median in ms of each full piece of `seconds` of a long run.

    Args:
        samples: (n,) ns in the order of the run.
        seconds: the length of a piece.
    """
    piece = (np.cumsum(samples) / (seconds * 1e9)).astype(np.int64)
    return tuple(float(np.median(samples[piece == number])) / 1e6 for number in range(int(piece[-1])))


def summarise(processes: Sequence[Samples], protocol: Protocol) -> Summary:
    """Sum up the latencies of all processes together.

    Args:
        processes: for each process (n,) ns, n > 0, in the order of its run.
        protocol: how they were measured.
    """
    ordered = np.sort(np.concatenate(processes))
    count = len(ordered)
    p50 = float(np.median(ordered)) if count >= MEDIAN_QUERIES else None
    values = {"p50": p50, "p90": early_stopping(ordered, 0.9), "p99": early_stopping(ordered, 0.99)}
    names = [name for name, value in values.items() if value is None]
    medians = [float(np.median(samples)) / 1e6 for samples in processes]

    def milliseconds(value: float | None) -> float | None:
        return None if value is None else value / 1e6

    return Summary(
        n=count,
        min_ms=float(ordered[0]) / 1e6,
        p50_ms=milliseconds(values["p50"]),
        p90_ms=milliseconds(values["p90"]),
        p99_ms=milliseconds(values["p99"]),
        mean_ms=float(ordered.mean()) / 1e6,
        std_ms=float(ordered.std(ddof=1)) / 1e6 if count > 1 else None,
        process_spread_ms=float(np.std(medians, ddof=1)) if len(medians) > 1 else None,
        buckets_p50_ms=buckets(processes[0], protocol.bucket_seconds) if protocol.bucket_seconds else None,
        percentiles_reason=f"{' and '.join(names)}: only {count} queries were timed" if names else None,
    )
