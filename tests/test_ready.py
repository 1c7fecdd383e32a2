"""The short path, in Python and in C: what it takes, where it leaves off, and that both agree where both take it.

What it takes wrongly, or leaves off that it should take, is found by test_codec_equality.py too, which compares the
codec with wsproto.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from trio_bunws._extension import ready_messages
from trio_bunws._wire.frames import binary_frame, close_frame, mask_frame, ping_frame, text_frame
from trio_bunws._wire.ready import ReadyMessages

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._wire.events import Message
    from trio_bunws._wire.ready import Ready

KEY = b"\x9a\x01\xfe\x42"
NO_LIMIT = 1 << 64
BOTH: list[Callable[[bytes, int, int, bool], Ready]] = [ReadyMessages]
if ready_messages is not None:
    BOTH.append(ready_messages)
both_ways = pytest.mark.parametrize("masked", [False, True], ids=["a server's", "a client's"])


@pytest.fixture
def read(implementation: str) -> Callable[[bytes, int, int, bool], Ready]:
    """Return what makes the iterator."""
    if implementation == "python":
        return ReadyMessages
    assert ready_messages is not None
    return ready_messages


def framed(frame: bytes, masked: bool) -> bytes:
    return mask_frame(frame, KEY) if masked else frame


@both_ways
@pytest.mark.parametrize("size", [0, 1, 31, 124, 125])
def test_short_messages_come_out_one_after_another(read: Callable[..., Ready], size: int, masked: bool) -> None:
    data = framed(text_frame(b"a" * size), masked) + framed(binary_frame(b"\xff" * size), masked)
    ready = read(data, 0, NO_LIMIT, masked)
    assert list(ready) == ["a" * size, b"\xff" * size]
    assert ready.stop() == len(data)


@both_ways
def test_it_begins_anywhere_and_says_where_it_came(read: Callable[..., Ready], masked: bool) -> None:
    one, two = framed(text_frame(b"one"), masked), framed(text_frame(b"two"), masked)
    ready = read(one + two + one, len(one), NO_LIMIT, masked)
    assert list(islice(ready, 1)) == ["two"]
    assert ready.stop() == len(one + two)


@both_ways
@pytest.mark.parametrize("size", [0, 5, 125])
def test_a_frame_cut_anywhere_is_left(read: Callable[..., Ready], size: int, masked: bool) -> None:
    frame = framed(binary_frame(bytes(size)), masked)
    for length in range(len(frame)):
        ready = read(frame + frame[:length], 0, NO_LIMIT, masked)
        assert (list(ready), ready.stop()) == ([bytes(size)], len(frame))


@both_ways
@pytest.mark.parametrize(
    "frame",
    [
        ping_frame(b"ping"),
        close_frame(1000, ""),
        b"\x01\x01a",  # a fragment
        b"\x80\x01a",  # and the last one
        b"\xc1\x01a",  # compressed
        b"\x83\x01a",  # of no known kind
        text_frame(b"\xff"),
        text_frame(b"\xed\xa0\x80"),  # half a surrogate
        b"\x81\x7e\x00\x7daaaa" + b"a" * 125,  # not in its shortest form
        b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x01a",  # the highest bit set
    ],
    ids=str,
)
def test_what_is_no_plain_message_is_left(read: Callable[..., Ready], frame: bytes, masked: bool) -> None:
    before = framed(text_frame(b"before"), masked)
    ready = read(before + framed(frame, masked) + before, 0, NO_LIMIT, masked)
    assert (list(ready), ready.stop()) == (["before"], len(before))


@both_ways
@pytest.mark.parametrize("frame", [binary_frame(b"data"), text_frame(b"data")])
def test_a_frame_of_the_other_side_is_left(read: Callable[..., Ready], frame: bytes, masked: bool) -> None:
    ready = read(framed(frame, not masked) + bytes(200), 0, NO_LIMIT, masked)
    assert (list(ready), ready.stop()) == ([], 0)


@both_ways
def test_a_message_over_the_limit_is_left(read: Callable[..., Ready], masked: bool) -> None:
    fits, does_not = framed(binary_frame(b"four"), masked), framed(binary_frame(b"fives"), masked)
    ready = read(fits + does_not, 0, 4, masked)
    assert (list(ready), ready.stop()) == ([b"four"], len(fits))


@both_ways
def test_it_is_stopped_between_two_messages(read: Callable[..., Ready], masked: bool) -> None:
    one, two = framed(text_frame(b"one"), masked), framed(text_frame(b"two"), masked)
    ready = read(one + two, 0, NO_LIMIT, masked)
    messages = iter(ready)
    assert next(messages) == "one"
    assert ready.stop() == len(one)
    assert list(messages) == []
    assert ready.stop() == len(one)


@both_ways
@pytest.mark.parametrize("size", [126, 127, 1024, 1025, 65535, 65536, 70000])
def test_long_messages_are_taken_in_c_and_left_in_python(
    read: Callable[..., Ready], size: int, masked: bool, implementation: str
) -> None:
    data = framed(text_frame(b"a" * size), masked) + framed(binary_frame(b"\xff" * size), masked)
    expected: list[Message] = [] if implementation == "python" else ["a" * size, b"\xff" * size]
    assert list(read(data, 0, NO_LIMIT, masked)) == expected


frames = st.one_of(
    st.binary(max_size=8),
    st.builds(framed, st.builds(binary_frame, st.binary(max_size=125)), st.booleans()),
    st.builds(framed, st.builds(text_frame, st.text(max_size=30).map(str.encode)), st.booleans()),
)


@given(data=st.lists(frames).map(b"".join), pos=st.integers(0, 9), limit=st.integers(0, 130), masked=st.booleans())
@example(data=bytes([0x81, 0xFE, 0, 126, *KEY, *bytes(125)]), pos=0, limit=200, masked=True)
def test_both_take_the_same_short_messages(data: bytes, pos: int, limit: int, masked: bool) -> None:
    taken = []
    for read in BOTH:
        ready = read(data, pos, min(limit, 125), masked)
        taken.append((list(ready), ready.stop()))
    assert taken[0] == taken[-1]
