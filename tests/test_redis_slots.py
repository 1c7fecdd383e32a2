"""Facts about `brokers/_redis_slots.py`; the slots are those of the Redis cluster specification."""

from __future__ import annotations

import pytest

from trio_bunws.brokers._redis_slots import SlotMap, read_slots, slot_of

ASKED = ("1.2.3.4", 7000)


@pytest.mark.parametrize(
    ("channel", "slot"),
    [
        (b"123456789", 0x31C3),
        (b"foo", 12182),
        (b"x{foo}y", 12182),
        (b"{foo}{bar}", 12182),
        (b"{}foo", 9500),
        (b"{foo", 13308),
        (b"foo}{", 8134),
        (b"", 0),
    ],
)
def test_the_slot_is_that_of_the_first_braces_or_of_all(channel: bytes, slot: int) -> None:
    assert slot_of(channel) == slot


def test_the_ranges_are_read_in_any_order_with_their_primaries() -> None:
    answer = [
        [8192, 16383, [b"b", 2, b"id", []], [b"replica", 9, b"id", []]],
        [0, 8191, [None, 0, b"id", []]],
    ]
    assert read_slots(answer, ASKED) == [(0, ASKED), (8192, ("b", 2))]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "no node has slot 0"),
        ([[1, 16383, [b"a", 1]]], "no node has slot 0"),
        ([[0, 5, [b"a", 1]], [7, 16383, [b"a", 1]]], "no node has slot 6"),
        ([[0, 5, [b"a", 1]]], "no node has slot 6"),
        (b"OK", "no list of slots"),
        (5, "no list of slots"),
        ([[0, 16383, [5, 1]]], "no list of slots"),
    ],
)
def test_what_is_no_whole_map_is_a_value_error(answer: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_slots(answer, ASKED)


def test_a_map_knows_whose_a_channel_is() -> None:
    slots = SlotMap([(0, "a"), (9501, "b"), (12700, "a")])
    assert [slots.node_of(channel) for channel in (b"{}foo", b"foo", b"123456789")] == ["a", "b", "a"]
