"""The numbers of sockets and servers. Covers `trio_bunws._statistics` alone; others test where they come from."""

from __future__ import annotations

import attrs
import pytest

from trio_bunws._statistics import SocketStatistics, Totals

ONE = SocketStatistics(messages_in=1, messages_out=2, bytes_in=3, bytes_out=4, drops=5, buffered=6)


def test_totals_add_up() -> None:
    totals = Totals()
    for _ in range(2):
        totals.add(ONE)
    sums = (totals.messages_in, totals.messages_out, totals.bytes_in, totals.bytes_out, totals.drops)
    assert sums == (2, 4, 6, 8, 10)


def test_statistics_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ONE.drops = 1  # type: ignore[misc]  # what is tested
