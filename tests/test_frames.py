"""Frames built by hand: each is what RFC 6455 draws, and a wsproto client reads the same payload out of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from wsproto.connection import CLIENT, SERVER, Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from trio_bunws._wire import frames
from trio_bunws._wire.frames import (
    BINARY,
    BLOCK,
    FIRST_BYTE_ERRORS,
    FIRST_BYTE_ERRORS_DEFLATE,
    SHORT_MASKS,
    TEXT,
    close_frame,
    compressed_frame,
    header,
    ping_frame,
    pong_frame,
    take_apart,
    unmask,
)

pytestmark = pytest.mark.usefixtures("implementation")
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 70000]


def read(frame: bytes) -> list[object]:
    connection = Connection(CLIENT)
    connection.receive_data(frame)
    return list(connection.events())


@pytest.mark.parametrize("length", LENGTHS)
def test_a_client_reads_text(length: int) -> None:
    text = "x" * length
    assert (
        "".join(event.data for event in read(frames.text_frame(text.encode())) if isinstance(event, TextMessage))
        == text
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_a_client_reads_bytes(length: int) -> None:
    data = bytes(index % 251 for index in range(length))
    assert b"".join(event.data for event in read(frames.binary_frame(data)) if isinstance(event, BytesMessage)) == data


@pytest.mark.parametrize("build", ["text_frame", "binary_frame"])
@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "00"),
        (125, "7d"),
        (126, "7e007e"),
        (65535, "7effff"),
        (65536, "7f0000000000010000"),
    ],
)
def test_the_length_is_in_its_shortest_form(build: str, length: int, expected: str) -> None:
    frame = getattr(frames, build)(bytes(length))
    assert frame[1 : -length or None] == bytes.fromhex(expected)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_compressed_frame_is_a_plain_one_with_its_first_reserved_bit(length: int, opcode: int) -> None:
    plain = (frames.text_frame if opcode == TEXT else frames.binary_frame)(bytes(length))
    assert compressed_frame(bytes(length), opcode) == bytes([plain[0] | 0x40]) + plain[1:]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_header_is_what_stands_before_the_payload(length: int) -> None:
    assert header(0x82, length) + bytes(length) == frames.binary_frame(bytes(length))


def test_only_messages_may_have_that_bit_and_only_where_it_was_agreed_on() -> None:
    differing = [
        first
        for first, errors in enumerate(zip(FIRST_BYTE_ERRORS, FIRST_BYTE_ERRORS_DEFLATE, strict=True))
        if errors[0] != errors[1]
    ]
    assert differing == [0x41, 0x42, 0xC1, 0xC2]
    assert [FIRST_BYTE_ERRORS_DEFLATE[first] for first in differing] == [""] * 4


def test_the_first_byte_is_the_final_bit_and_the_opcode() -> None:
    built = [frames.text_frame(b""), frames.binary_frame(b""), close_frame(1000, ""), ping_frame(b""), pong_frame(b"")]
    assert [frame[0] for frame in built] == [0x81, 0x82, 0x88, 0x89, 0x8A]
    assert [frame[0] for frame in (frames.text_frame(bytes(126)), frames.binary_frame(bytes(126)))] == [0x81, 0x82]


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(125)])
def test_a_client_reads_pings_and_pongs(payload: bytes) -> None:
    assert read(ping_frame(payload)) == [Ping(payload)]
    assert read(pong_frame(payload)) == [Pong(payload)]


@pytest.mark.parametrize("code", [None, 1005])
def test_a_close_without_a_code_is_empty(code: int | None) -> None:
    assert close_frame(code, "not told") == b"\x88\x00"


def test_a_client_reads_code_and_reason_of_a_close() -> None:
    assert read(close_frame(4000, "tschüss")) == [CloseConnection(4000, "tschüss")]
    assert read(close_frame(1000, "")) == [CloseConnection(1000, "")]


def test_a_reason_over_123_bytes_is_cut_between_characters() -> None:
    assert read(close_frame(1000, "ä" * 100)) == [CloseConnection(1000, "ä" * 61)]


def plain_xor(data: bytes, key: bytes, offset: int) -> bytes:
    return bytes(byte ^ key[(offset + index) % 4] for index, byte in enumerate(data))


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 5])
def test_unmask_turns_the_key_to_the_offset(offset: int) -> None:
    assert unmask(b"\x00" * 6, b"abcd", offset) == (b"abcd" * 3)[offset : offset + 6]


@given(data=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4), offset=st.integers(0, 9))
def test_unmask_is_xor_with_the_repeated_key_from_the_offset_on(data: bytes, key: bytes, offset: int) -> None:
    assert unmask(data, key, offset) == plain_xor(data, key, offset)


@settings(max_examples=30)
@given(blocks=st.integers(0, 3), more=st.integers(-5, 5), offset=st.integers(0, 9))
def test_unmask_is_the_same_across_blocks(blocks: int, more: int, offset: int) -> None:
    data = bytes(range(251)) * (4 * BLOCK // 251)
    data = data[: max(0, blocks * BLOCK + more)]
    assert unmask(data, b"\x01\xf2\x33\x84", offset) == plain_xor(data, b"\x01\xf2\x33\x84", offset)


def test_a_mask_of_zeros_leaves_the_bytes_alone() -> None:
    data = bytes(100_000)
    assert unmask(data, bytes(4), 3) is data


@given(payload=st.binary(max_size=125), key=st.binary(min_size=4, max_size=4))
def test_the_table_of_short_masks_takes_the_mask_off(payload: bytes, key: bytes) -> None:
    mask = SHORT_MASKS[0x80 | len(payload)]
    assert mask is not None
    size, key_shift, repeat, excess = mask
    assert size == 6 + len(payload)
    masked = int.from_bytes(key + plain_xor(payload, key, 0))
    assert masked >> key_shift == int.from_bytes(key)
    assert (masked ^ ((masked >> key_shift) * repeat >> excess)).to_bytes(len(payload)) == payload


def test_the_table_of_short_masks_has_no_row_for_other_frames() -> None:
    assert [byte for byte in range(256) if SHORT_MASKS[byte] is not None] == list(range(0x80, 0x80 + 126))


KEYS = [bytes(4), b"\x00\x00\x00\x01", b"\x9a\x01\xfe\x42", b"\xff\xff\xff\xff"]


def masked_by_hand(frame: bytes, key: bytes) -> bytes:
    """Mask as RFC 6455, section 5.3, says it: octet by octet."""
    start = {126: 4, 127: 10}.get(frame[1], 2)
    payload = bytes(octet ^ key[index % 4] for index, octet in enumerate(frame[start:]))
    return frame[:1] + bytes([frame[1] | 0x80]) + frame[2:start] + key + payload


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("length", [*range(10), 123, 124, 125, 126, 127, 128, 8191, 8193, 65535, 65536, 70001])
def test_a_frame_of_any_length_is_masked_as_the_rfc_says(length: int, key: bytes) -> None:
    payload = bytes(index % 251 for index in range(length))
    for frame in (frames.text_frame(payload), frames.binary_frame(payload)):
        assert frames.mask_frame(frame, key) == masked_by_hand(frame, key)


@given(payload=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_a_wsproto_server_reads_what_was_masked(payload: bytes, key: bytes) -> None:
    controls = [ping_frame(payload[:125]), pong_frame(payload[:125]), close_frame(1000, "bye")]
    server = Connection(SERVER)
    server.receive_data(b"".join(frames.mask_frame(frame, key) for frame in [frames.binary_frame(payload), *controls]))
    message, ping, pong, close = server.events()
    assert isinstance(close, CloseConnection)
    assert (close.code, close.reason) == (1000, "bye")
    assert (ping, pong) == (Ping(payload[:125]), Pong(payload[:125]))
    assert isinstance(message, BytesMessage)
    assert bytes(message.data) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_frame_of_ours_can_be_taken_apart_again(size: int) -> None:
    payload = bytes(size)
    assert take_apart(frames.text_frame(payload)) == (payload, 1)
    assert take_apart(frames.binary_frame(payload)) == (payload, 2)
