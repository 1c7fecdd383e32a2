"""Facts about `_envelope.py`: what one node encodes another decodes, and nothing else is let through."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws._envelope import (
    MAX_FRAMES,
    OVERHEAD,
    Answer,
    Publishes,
    Question,
    Section,
    decode,
    encode_answer,
    encode_publishes,
    encode_question,
    is_echo,
)
from trio_bunws._wire.frames import binary_frame, header, ping_frame, text_frame

NODE = bytes(range(8))
NUMBER = bytes(range(8, 16))
HEAD = b"bw\x01\x00" + NODE

frames = st.one_of(
    st.text(max_size=10).map(str.encode).map(text_frame),
    st.binary(max_size=10).map(binary_frame),
)
sections = st.builds(Section, st.booleans(), st.lists(frames, min_size=1, max_size=3))


def section(body: bytes, *, flags: int = 0, size: int | None = None) -> bytes:
    return bytes([flags]) + (len(body) if size is None else size).to_bytes(4) + body


@given(st.binary(min_size=8, max_size=8), st.lists(sections, min_size=1, max_size=4))
def test_publishes_come_out_as_they_went_in(node: bytes, sent: list[Section]) -> None:
    assert decode(encode_publishes(node, sent)) == Publishes(node, sent)


@pytest.mark.parametrize("length", [0, 125, 126, 127, 65535, 65536])
def test_a_frame_of_any_length_comes_out_as_it_went_in(length: int) -> None:
    sent = [Section(False, [text_frame(bytes(length)), binary_frame(bytes(length))])]
    assert decode(encode_publishes(NODE, sent)) == Publishes(NODE, sent)


def test_a_text_that_is_not_ascii_comes_out_as_it_went_in() -> None:
    sent = [Section(True, [text_frame("日本語".encode())])]
    assert decode(encode_publishes(NODE, sent)) == Publishes(NODE, sent)


def test_a_question_comes_out_as_it_went_in() -> None:
    assert decode(encode_question(NODE, NUMBER)) == Question(NODE, NUMBER)


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), st.integers(0, 0xFFFF_FFFF))
def test_questions_and_answers_come_out_as_they_went_in(node: bytes, number: bytes, count: int) -> None:
    assert decode(encode_question(node, number)) == Question(node, number)
    assert decode(encode_answer(node, number, count)) == Answer(node, number, count)


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(lambda tail: HEAD + tail)))
def test_whatever_comes_nothing_is_raised_and_nothing_is_made_up(data: bytes) -> None:
    is_echo(data, NODE)
    match decode(data):
        case Publishes(node, got):
            assert encode_publishes(node, got) == data
        case Question(node, number):
            assert encode_question(node, number) == data
        case Answer(node, number, count):
            assert encode_answer(node, number, count) == data
        case None:
            pass


@given(st.lists(sections, min_size=1, max_size=2), st.data())
def test_a_cut_envelope_holds_no_frame_that_is_not_whole(sent: list[Section], draw: st.DataObject) -> None:
    data = encode_publishes(NODE, sent)
    cut = decode(data[: draw.draw(st.integers(0, len(data) - 1))])
    assert cut is None or (isinstance(cut, Publishes) and list(cut.sections) == sent[: len(cut.sections)])


def test_more_subscribers_than_the_field_holds_are_as_many_as_it_holds() -> None:
    assert decode(encode_answer(NODE, NUMBER, 1 << 40)) == Answer(NODE, NUMBER, 0xFFFF_FFFF)


def test_the_overhead_is_what_one_section_costs() -> None:
    frame = text_frame(b"x")
    assert len(encode_publishes(NODE, [Section(False, [frame])])) == OVERHEAD + len(frame)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"bw\x01\x00" + NODE[:7], id="half a node"),
        pytest.param(b"bw\x02\x00" + NODE + section(text_frame(b"x")), id="another version"),
        pytest.param(b"bw\x01\x03" + NODE, id="an unknown kind"),
        pytest.param(b"bw\x01\x01" + NODE + NUMBER + b"x", id="a question with more"),
        pytest.param(b"bw\x01\x02" + NODE + NUMBER, id="an answer without a number"),
        pytest.param(HEAD, id="no section"),
        pytest.param(HEAD + b"\x00\x00", id="half a section's head"),
        pytest.param(HEAD + section(b""), id="a section without frames"),
        pytest.param(HEAD + section(text_frame(b"x"), flags=2), id="unknown flags"),
        pytest.param(HEAD + section(text_frame(b"x"), size=0xFFFF_FFFF), id="a section that says it is longer"),
        pytest.param(HEAD + section(text_frame(b"x")) + b"{}", id="something behind"),
        pytest.param(HEAD + section(b"\x81"), id="half a frame's head"),
        pytest.param(HEAD + section(b"\x81\x02x"), id="half a frame"),
        pytest.param(HEAD + section(b"\x81\x7e\x00"), id="half a length"),
        pytest.param(HEAD + section(b"\x81\x81maskx"), id="a mask"),
        pytest.param(HEAD + section(b"\x81\x7e\x00\x01x"), id="a length that is not in its shortest form"),
        pytest.param(HEAD + section(b"\x82\x7f" + (1000).to_bytes(8) + bytes(1000)), id="the same in eight bytes"),
        pytest.param(HEAD + section(b"\x82\x7f" + (1 << 63).to_bytes(8)), id="a length beyond everything"),
        pytest.param(HEAD + section(text_frame(b"\xff")), id="a text that is no UTF-8"),
        pytest.param(HEAD + section(ping_frame(b"x")), id="a ping"),
        pytest.param(HEAD + section(header(0x01, 1) + b"x"), id="a fragment"),
        pytest.param(HEAD + section(header(0xC1, 1) + b"x"), id="a compressed message"),
        pytest.param(HEAD + section(binary_frame(b"") * (MAX_FRAMES + 1)), id="more frames than are taken"),
        pytest.param(b"hello", id="another application's message"),
    ],
)
def test_what_no_node_makes_is_none(data: bytes) -> None:
    assert decode(data) is None


def test_as_many_frames_as_are_taken_may_be_in_several_sections() -> None:
    half = section(binary_frame(b"") * (MAX_FRAMES // 2))
    assert isinstance(decode(HEAD + half + half), Publishes)
    assert decode(HEAD + half + half + section(binary_frame(b""))) is None


def test_an_echo_is_what_the_node_itself_has_published() -> None:
    data = encode_publishes(NODE, [Section(True, [text_frame(b"x")])])
    assert is_echo(data, NODE)
    assert not is_echo(data, NUMBER)
    assert not is_echo(encode_question(NODE, NUMBER), NODE)
    assert not is_echo(b"", NODE)
    assert not is_echo(b"xx\x01\x00" + NODE, NODE)
