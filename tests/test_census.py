"""Facts about `_census.py`: when a count is done, and what its answers add up to."""

from __future__ import annotations

from trio_bunws._census import Census

A, B = b"a" * 8, b"b" * 8


async def test_a_count_is_done_when_all_that_are_expected_have_answered() -> None:
    census = Census()
    count = census.begin()
    count.expect(2)
    census.answered(count.number, A, 3)
    assert not count.done.is_set()
    census.answered(count.number, B, 4)
    assert count.done.is_set()
    assert count.total == 7


async def test_a_count_is_done_at_once_where_all_have_answered_before_it_was_known_how_many() -> None:
    count = Census().begin()
    count.answered(A, 1)
    assert not count.done.is_set()
    count.expect(1)
    assert count.done.is_set()


async def test_nobody_to_ask_is_done_at_once() -> None:
    count = Census().begin()
    count.expect(0)
    assert count.done.is_set()
    assert count.total == 0


async def test_a_node_counts_once() -> None:
    count = Census().begin()
    count.expect(2)
    count.answered(A, 1)
    count.answered(A, 10)
    assert not count.done.is_set()
    assert count.total == 1


async def test_an_answer_that_comes_late_or_to_nothing_is_ignored() -> None:
    census = Census()
    count = census.begin()
    census.answered(b"another!", A, 1)
    census.end(count)
    census.answered(count.number, A, 1)
    assert count.total == 0


async def test_two_counts_have_two_numbers() -> None:
    census = Census()
    assert census.begin().number != census.begin().number
