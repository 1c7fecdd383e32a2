"""Facts about `_outgoing.py`: what makes one batch, and what the queue holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_bunws._envelope import MAX_FRAMES, OVERHEAD, Publishes, Section, decode
from trio_bunws._outgoing import BATCH_SIZE, MESSAGE_COST, Outgoing
from trio_bunws._wire.frames import binary_frame, text_frame

if TYPE_CHECKING:
    from trio_bunws._broker import Batch

NODE = b"n" * 8
ONE = text_frame(b"one")
TWO = text_frame(b"two")


def make(max_size: int = 1 << 30, max_batch: int = 1 << 30) -> Outgoing:
    return Outgoing(NODE, max_size=max_size, max_batch=max_batch)


def sections(batch: Batch) -> list[Section]:
    decoded = decode(batch.data)
    assert isinstance(decoded, Publishes)
    assert decoded.node == NODE
    return list(decoded.sections)


def test_the_publishes_to_one_topic_are_one_batch_in_order() -> None:
    queue = make()
    assert not queue
    for topic, frame in (("a", ONE), ("b", TWO), ("a", TWO)):
        assert queue.add(topic, frame, compress=False)
    assert queue
    first, second = queue.take()
    assert (first.channel, first.messages, second.channel, second.messages) == ("t:a", 2, "t:b", 1)
    assert sections(first) == [(False, [ONE, TWO])]
    assert sections(second) == [(False, [TWO])]
    assert not queue
    assert queue.take() == []


def test_what_is_to_be_compressed_has_sections_of_its_own_and_the_order_stays() -> None:
    queue = make()
    for frame, compress in ((ONE, True), (TWO, True), (ONE, False), (TWO, True)):
        queue.add("a", frame, compress=compress)
    (batch,) = queue.take()
    assert sections(batch) == [(True, [ONE, TWO]), (False, [ONE]), (True, [TWO])]


def test_more_frames_than_an_envelope_takes_are_several_batches() -> None:
    queue = make()
    for _ in range(MAX_FRAMES + 1):
        queue.add("a", ONE, compress=False)
    assert [batch.messages for batch in queue.take()] == [MAX_FRAMES, 1]


def test_a_batch_is_complete_when_another_message_would_make_it_too_long() -> None:
    queue = make()
    big = binary_frame(bytes(BATCH_SIZE // 3))
    for turn in range(6):
        queue.add("a", big, compress=turn % 2 == 0)
    batches = queue.take()
    assert [batch.messages for batch in batches] == [2, 2, 2]
    assert all(len(batch.data) <= BATCH_SIZE for batch in batches)


def test_a_longer_message_is_a_batch_of_its_own() -> None:
    queue = make()
    for frame in (ONE, binary_frame(bytes(BATCH_SIZE)), TWO):
        assert queue.add("a", frame, compress=False)
    assert [batch.messages for batch in queue.take()] == [1, 1, 1]


def test_the_longest_batch_that_is_allowed_is_used_to_the_last_byte() -> None:
    queue = make(max_batch=OVERHEAD + len(ONE))
    assert queue.add("a", ONE, compress=False)
    assert queue.add("a", TWO, compress=True)
    assert not queue.add("a", text_frame(b"four"), compress=False)
    assert [len(batch.data) for batch in queue.take()] == [OVERHEAD + len(ONE)] * 2


def test_what_does_not_fit_the_queue_is_refused_until_it_was_emptied() -> None:
    cost = len(ONE) + MESSAGE_COST
    queue = make(max_size=2 * cost)
    assert queue.add("a", ONE, compress=False)
    assert queue.is_half_empty
    assert queue.add("b", TWO, compress=False)
    assert not queue.is_half_empty
    assert not queue.add("a", ONE, compress=False)
    assert len(queue.take()) == 2
    assert queue.is_half_empty
    assert queue.add("a", ONE, compress=False)


def test_one_message_always_fits_an_empty_queue() -> None:
    queue = make(max_size=1)
    assert queue.add("a", ONE, compress=False)
    assert not queue.add("a", ONE, compress=False)
