"""Collecting a message that arrives in parts, alone: the payload, what is left, and text that cannot become UTF-8."""

from __future__ import annotations

import pytest
from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

from trio_bunws._wire.compression import Outbound
from trio_bunws._wire.deflate import BrokenData, Deflater, Inflater, TooLong
from trio_bunws._wire.frames import (
    BINARY,
    CONTINUATION,
    FIN,
    NO_MASK,
    RSV1,
    TEXT,
    binary_frame,
    compressed_frame,
    ping_frame,
    unmask,
)
from trio_bunws._wire.messages import (
    FragmentedMessage,
    InflatingExtension,
    Violation,
    WholeMessage,
    join_fragments,
)

pytestmark = pytest.mark.usefixtures("implementation")
KEY = b"\x9a\x01\xfe\x42"
keys = pytest.mark.parametrize("key", [NO_MASK, KEY])


COMPRESSED = Deflater(15, takeover=False).compress("grün".encode())


def begin(message: FragmentedMessage, opcode: int, length: int, key: bytes, *, final: bool = False) -> None:
    """Begin a fragment."""
    message.begin(opcode | FIN * final, length, key, 100)


def new_inflater() -> Inflater:
    return Inflater(15, takeover=False)


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_a_whole_message_is_complete_with_its_last_byte(opcode: int, expected: str | bytes, key: bytes) -> None:
    sent = unmask("grün".encode(), key)
    message = WholeMessage(opcode, len(sent), key)
    for at in range(len(sent) - 1):
        assert (message.held, message.left) == (at, len(sent) - at)
        assert message.take(sent[at : at + 1]) is None
    assert message.take(sent[-1:]) == expected


@keys
@pytest.mark.parametrize("bad", [b"\xff", b"a\xc0", b"\xf5"])
def test_whole_text_fails_at_the_first_bad_byte(bad: bytes, key: bytes) -> None:
    message = WholeMessage(TEXT, 100, key)
    with pytest.raises(UnicodeDecodeError):
        message.take(unmask(bad, key))


@keys
def test_half_a_surrogate_in_whole_text_fails_at_its_second_byte(key: bytes) -> None:
    message = WholeMessage(TEXT, 100, key)
    assert message.take(unmask(b"\xed", key)) is None
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"\xa0", key, 1))
    assert caught.value.code == 1007


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_fragments_are_joined_and_the_next_message_begins_anew(opcode: int, expected: str | bytes, key: bytes) -> None:
    message = FragmentedMessage()
    for _ in range(2):
        begin(message, opcode, 3, key)
        assert message.take(unmask(b"gr\xc3", key)) is None
        assert (message.count, message.total, message.left) == (1, 3, 0)
        begin(message, CONTINUATION, 2, key, final=True)
        assert message.take(unmask(b"\xbc", key)) is None
        assert message.left == 1
        assert message.take(unmask(b"n", key, 1)) == expected
        assert (message.count, message.total, message.held) == (0, 0, 0)


@keys
def test_bytes_of_a_fragmented_message_that_have_arrived_are_held(key: bytes) -> None:
    message = FragmentedMessage()
    begin(message, BINARY, 9, key)
    assert message.take(unmask(b"12345", key)) is None
    assert message.held == 5


@keys
def test_bad_text_in_fragments_is_a_violation(key: bytes) -> None:
    message = FragmentedMessage()
    begin(message, TEXT, 2, key)
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"a\xff", key))
    assert (caught.value.code, caught.value.reason) == (1007, "Text message that is not UTF-8")


@keys
def test_half_a_surrogate_across_fragments_fails_at_its_second_byte(key: bytes) -> None:
    message = FragmentedMessage()
    begin(message, TEXT, 1, key)
    assert message.take(unmask(b"\xed", key)) is None
    begin(message, CONTINUATION, 9, key)
    with pytest.raises(Violation) as caught:
        message.take(unmask(b"\xa0", key))
    assert caught.value.code == 1007


@keys
def test_bytes_of_a_surrogate_are_fine_in_binary_fragments(key: bytes) -> None:
    message = FragmentedMessage()
    begin(message, BINARY, 2, key)
    assert message.take(unmask(b"\xed\xa0", key)) is None


# Compressed.


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_a_whole_compressed_message_is_inflated_as_it_arrives(opcode: int, expected: str | bytes, key: bytes) -> None:
    sent = unmask(COMPRESSED, key)
    message = WholeMessage(opcode, len(sent), key, new_inflater(), 5)
    for at in range(len(sent) - 1):
        assert message.take(sent[at : at + 1]) is None
        assert (message.held <= 5, message.left) == (True, len(sent) - at - 1)
    assert message.take(sent[-1:]) == expected
    message = WholeMessage(opcode, len(sent), key, new_inflater(), 4)
    with pytest.raises(TooLong):
        message.take(sent)


def test_whole_compressed_text_fails_at_the_first_bad_byte() -> None:
    sent = Deflater(15, takeover=False).compress(b"\xff" + b"x" * 1000) + b"more"
    with pytest.raises(UnicodeDecodeError):
        WholeMessage(TEXT, len(sent), NO_MASK, new_inflater(), 2000).take(sent[:-5])


@keys
@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "grün"), (BINARY, "grün".encode())])
def test_compressed_fragments_are_inflated_and_the_next_may_be_plain(
    opcode: int, expected: str | bytes, key: bytes
) -> None:
    message = FragmentedMessage(new_inflater())
    for _ in range(2):
        begin(message, opcode | RSV1, 3, key)
        assert message.is_compressed
        assert message.take(unmask(COMPRESSED[:3], key)) is None
        begin(message, CONTINUATION, len(COMPRESSED) - 3, key, final=True)
        assert message.take(unmask(COMPRESSED[3:], key)) == expected
        begin(message, opcode, 5, key, final=True)
        assert not message.is_compressed
        assert message.take(unmask("grün".encode(), key)) == expected


def test_half_a_surrogate_in_compressed_fragments_fails_at_its_second_byte() -> None:
    message = FragmentedMessage(new_inflater())
    sent = Deflater(15, takeover=False).compress(b"\xed\xa0")
    begin(message, TEXT | RSV1, len(sent), NO_MASK)
    with pytest.raises(Violation) as caught:
        message.take(sent)
    assert caught.value.code == 1007


@pytest.mark.parametrize(("sent", "error"), [(b"\x07", BrokenData), (COMPRESSED, TooLong)])
def test_compressed_fragments_that_cannot_be_inflated_or_get_too_long(sent: bytes, error: type[Exception]) -> None:
    message = FragmentedMessage(new_inflater())
    message.begin(BINARY | RSV1, len(sent), NO_MASK, 4)
    with pytest.raises(error):
        message.take(sent)


def test_bad_text_among_compressed_fragments_is_a_violation() -> None:
    message = FragmentedMessage(new_inflater())
    begin(message, TEXT, 1, NO_MASK)
    with pytest.raises(Violation):
        message.take(b"\xff")


# wsproto's extension, which FragmentedMessage gives no control frames, and test_codec_equality.py does.

JSON = b'{"type": "message", "text": "hello, hello, hello"}'


def reading() -> tuple[Connection, InflatingExtension]:
    """Make a wsproto connection with our extension alone."""
    extension = InflatingExtension(Inflater(15, takeover=True))
    extension.limit = 1000
    assert extension.offer() is False
    return Connection(CLIENT, [extension]), extension


def events(connection: Connection, data: bytes) -> list[Event]:
    connection.receive_data(data)
    return list(connection.events())


def test_33_pings_between_compressed_fragments_do_no_harm() -> None:
    connection, extension = reading()
    data = Deflater(15, takeover=True).compress(JSON)
    sent = b"".join(
        bytes([first, 1, byte]) + ping_frame(b"p")
        for first, byte in zip([0x41, *[0] * (len(data) - 2), 0x80], data, strict=True)
    )
    got = events(connection, sent)
    assert "".join(event.data for event in got if isinstance(event, TextMessage)) == JSON.decode()
    assert sum(isinstance(event, Ping) for event in got) == len(data)
    assert extension.end == JSON[-2:]
    assert extension.error is None


def test_33_plain_messages_pass_between_compressed_ones() -> None:
    connection, _ = reading()
    sender = Outbound(15, takeover=True, min_size=0)
    sent = sender.frame(JSON, BINARY) + binary_frame(b"plain") + sender.frame(JSON, BINARY)
    assert [event.data for event in events(connection, sent) if isinstance(event, BytesMessage)] == [
        JSON,
        b"plain",
        JSON,
    ]


@pytest.mark.parametrize("sent", [b"\x41\x00\x40\x00", b"\xc9\x00", b"\xa1\x00", b"\x91\x00"])
def test_33_the_bit_is_allowed_only_where_a_message_begins(sent: bytes) -> None:
    connection, _ = reading()
    last = events(connection, sent)[-1]
    assert isinstance(last, CloseConnection)
    assert last.code == 1002


@pytest.mark.parametrize(
    ("sent", "code", "error"),
    [
        (compressed_frame(b"\x07", BINARY), 1007, BrokenData),
        (compressed_frame(Deflater(15, takeover=True).compress(bytes(1001)), BINARY), 1009, TooLong),
    ],
)
def test_33_what_was_wrong_with_a_compressed_message_is_told(sent: bytes, code: int, error: type[Exception]) -> None:
    connection, extension = reading()
    last = events(connection, sent)[-1]
    assert isinstance(last, CloseConnection)
    assert last.code == code
    assert isinstance(extension.error, error)


def test_33_the_limit_holds_for_each_message_and_all_its_frames() -> None:
    deflater = Deflater(15, takeover=False)
    connection, extension = reading()
    whole = deflater.compress(bytes(1000))
    sent = compressed_frame(whole, BINARY) * 2
    assert sum(event.message_finished for event in events(connection, sent) if isinstance(event, Message)) == 2
    parts = deflater.compress(bytes(600)) + b"\x00\x00\xff\xff", deflater.compress(bytes(401))
    assert extension.error is None
    events(connection, bytes([0x42, len(parts[0])]) + parts[0] + bytes([0x80, len(parts[1])]) + parts[1])
    assert isinstance(extension.error, TooLong)


# Joining fragments.


def fragment(payload: bytes, key: bytes, *, first: int = CONTINUATION) -> bytes:
    masked = key != NO_MASK
    return bytes([first, 0x80 * masked | len(payload)]) + (key if masked else b"") + unmask(payload, key)


def join(data: bytes, key: bytes, room: int = 1000, most: int = 1000) -> tuple[list[bytes], int, bool]:
    return join_fragments(data, 0, room, most, client=key == NO_MASK)


@keys
def test_short_fragments_are_taken_together_up_to_the_last_of_their_message(key: bytes) -> None:
    run = b"".join(fragment(payload, key) for payload in (b"a", b"", b"x" * 125))
    last = fragment(b"z", key, first=FIN)
    assert join(run, key) == ([b"a", b"", b"x" * 125], len(run), False)
    assert join(run + last + run, key) == ([b"a", b"", b"x" * 125, b"z"], len(run + last), True)


@keys
@pytest.mark.parametrize(
    "stop",
    [
        b"",
        b"\x00",
        b"\x00\x81abcd",
        b"\x00\x01",
        b"\x89\x00",
        b"\x40\x80abcd",
        b"\x01\x80abcd",
        b"\x00\xfe\x00\x80abcd",
        b"\x00\x7e\x00\x80abcd",
    ],
)
def test_joining_stops_at_what_is_not_there_in_full_or_no_short_fragment(stop: bytes, key: bytes) -> None:
    run = fragment(b"abc", key)
    assert join(run + stop, key) == ([b"abc"], len(run), False)


@keys
def test_a_mask_where_there_must_be_none_and_none_where_there_must_be_one_stop_it_too(key: bytes) -> None:
    assert join(fragment(b"abc", KEY if key == NO_MASK else NO_MASK), key) == ([], 0, False)


@keys
def test_joining_stops_before_a_limit_is_passed(key: bytes) -> None:
    run = fragment(b"abc", key) * 3
    assert join(run, key, room=8)[0] == [b"abc"] * 2
    assert join(run, key, room=9)[0] == [b"abc"] * 3
    assert join(run, key, most=2)[0] == [b"abc"] * 2
    assert join(run, key, most=0) == ([], 0, False)


@keys
def test_joined_fragments_count_each(key: bytes) -> None:
    message = FragmentedMessage()
    message.begin(BINARY, 3, NO_MASK, 100, count=3)
    assert message.take(b"abc") is None
    begin(message, CONTINUATION, 1, key)
    assert (message.count, message.total) == (4, 4)
