"""Percentiles from buckets: right to 1 %, whatever the order and the range."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws._cli.latencies import Latencies

TIMES = st.lists(st.floats(1e-6, 100), min_size=1, max_size=200)


def counted(times: list[float]) -> Latencies:
    latencies = Latencies()
    for time in times:
        latencies.add(time)
    return latencies


@given(times=TIMES, percent=st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_right_to_one_percent(times: list[float], percent: float) -> None:
    exact = sorted(times)[max(0, -int(-len(times) * percent // 100) - 1)]
    assert counted(times).percentile(percent) == pytest.approx(exact, rel=0.0101)


@given(times=TIMES)
def test_the_count_and_the_greatest_are_exact(times: list[float]) -> None:
    latencies = counted(times)
    assert (latencies.count, latencies.greatest) == (len(times), max(times))
    assert latencies.percentile(100) <= latencies.greatest


def test_without_any_there_is_nothing_to_tell() -> None:
    assert Latencies().percentile(99) == 0.0


def test_rounding_beyond_the_last_bucket_is_the_greatest() -> None:
    assert counted([0.5]).percentile(100.1) == 0.5


def test_no_time_at_all_counts_too() -> None:
    assert counted([0.0]).percentile(50) == 0.0
