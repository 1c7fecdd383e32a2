"""The codec: each rule of BEHAVIOUR.md for what a client sends, at its edges, and wherever the reads are cut.

That it agrees with wsproto on everything else is test_codec_equality.py's subject.
"""

from __future__ import annotations

import pytest

from trio_bunws._wire.codec import Codec
from trio_bunws._wire.deflate import TURN, Deflater, Inflater
from trio_bunws._wire.events import Close, Event, Failure, Ping, Pong
from trio_bunws._wire.frames import unmask
from trio_bunws._wire.messages import FragmentedMessage

pytestmark = pytest.mark.usefixtures("implementation")
KEY = b"\x9a\x01\xfe\x42"
FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(first: int, payload: bytes = b"", *, key: bytes = KEY) -> bytes:
    """Build a client's frame, its length in the shortest form."""
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 1 << 16:
        size = b"\xfe" + length.to_bytes(2)
    else:
        size = b"\xff" + length.to_bytes(8)
    return bytes([first]) + size + key + unmask(payload, key)


def text(message: str) -> bytes:
    return frame(FIN | TEXT, message.encode())


def header(first: int, length: int) -> bytes:
    """Build the header of a frame that only declares a length over 125, in the shortest form."""
    return bytes([first]) + (b"\xfe" + length.to_bytes(2) if length < 1 << 16 else b"\xff" + length.to_bytes(8)) + KEY


def new_codec(max_payload_length: int = 1 << 24, max_fragments: int = 16384) -> Codec:
    return Codec(max_payload_length, max_fragments)


def decode(*reads: bytes, codec: Codec | None = None) -> list[Event]:
    codec = codec or new_codec()
    events: list[Event] = []
    for read in reads:
        codec.feed(read)
        events += codec.events()
    return events


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def failure_code(*reads: bytes, codec: Codec | None = None) -> int:
    [event] = decode(*reads, codec=codec)
    assert isinstance(event, Failure)
    assert event.reason
    assert len(event.reason.encode()) <= 123
    return event.code


# Messages in one frame.


@pytest.mark.parametrize("key", [KEY, bytes(4), b"\x00\x00\x00\x01"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 1000, 65535, 65536, 100_000])
def test_a_message_of_any_length_comes_out_as_sent(length: int, key: bytes) -> None:
    message = ("0123456789äöü" * (length // 13 + 1))[:length]
    data = message.encode()
    whole = frame(FIN | TEXT, data, key=key) + frame(FIN | BINARY, data, key=key)
    assert decode(whole) == [message, data]
    assert decode(*(whole[start : start + 999] for start in range(0, len(whole), 999))) == [message, data]


def test_messages_of_one_read_come_out_in_order() -> None:
    assert decode(text("a") + frame(FIN | BINARY, b"b") + frame(FIN | PING, b"c") + text("")) == [
        "a",
        b"b",
        Ping(b"c"),
        "",
    ]


def test_no_bytes_are_no_event() -> None:
    assert decode(b"", b"") == []


@pytest.mark.parametrize("reads", [1, 2, 7])
def test_frames_are_found_wherever_the_reads_are_cut(reads: int) -> None:
    sent = text("one") + frame(FIN | BINARY, b"x" * 300) + frame(FIN | PONG, b"p") + text("two")
    cuts = [sent[start : start + reads] for start in range(0, len(sent), reads)]
    assert decode(*cuts) == ["one", b"x" * 300, Pong(b"p"), "two"]


@pytest.mark.parametrize("length", [60, 200, 70_000])
@pytest.mark.parametrize("bad", [b"\x80", b"\xff", b"\xc0", b"\xe0\x9f", b"\xed\xa0", b"\xf4\x90", b"\xe2\x82\x41"])
def test_text_fails_at_the_first_byte_that_cannot_become_utf_8(bad: bytes, length: int) -> None:
    good = "good €".encode() + bad[:-1]
    sent = frame(FIN | TEXT, good + bad[-1:] + b"x" * length)
    fine = sent.index(KEY) + 4 + len(good)
    codec = new_codec()
    assert decode(*byte_by_byte(sent[:fine]), codec=codec) == []
    assert failure_code(sent[fine : fine + 1], codec=codec) == 1007
    codec = new_codec()
    assert decode(sent[:fine], codec=codec) == []
    assert failure_code(sent[fine : fine + 1], codec=codec) == 1007


@pytest.mark.parametrize("length", [1, 125, 126, 70_000])
def test_text_must_not_end_within_a_character(length: int) -> None:
    sent = frame(FIN | TEXT, b"x" * (length - 1) + b"\xc3")
    assert failure_code(sent) == 1007
    assert failure_code(sent[:-1], sent[-1:]) == 1007


def test_messages_before_a_bad_one_are_delivered() -> None:
    [one, two, failure] = decode(text("one") + text("two") + frame(FIN | TEXT, b"\xff") + text("three"))
    assert (one, two) == ("one", "two")
    assert failure == Failure(1007, "Text message that is not UTF-8")


# Fragmented messages.


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_fragments_are_joined(size: int) -> None:
    first = frame(TEXT, "grü".encode()[:3]) + frame(CONTINUATION) + frame(FIN, "grüß".encode()[3:])
    second = frame(BINARY, b"a" * 200) + frame(FIN, b"b" * 300)
    sent = first + second + text("last")
    assert decode(*(sent[at : at + size] for at in range(0, len(sent), size))) == [
        "grüß",
        b"a" * 200 + b"b" * 300,
        "last",
    ]


def test_fragments_may_be_large() -> None:
    sent = frame(BINARY, b"a" * 70_000) + frame(FIN, b"b" * 70_000)
    assert decode(sent) == [b"a" * 70_000 + b"b" * 70_000]
    assert decode(*(sent[at : at + 4096] for at in range(0, len(sent), 4096))) == [b"a" * 70_000 + b"b" * 70_000]


def test_empty_fragments_make_an_empty_message() -> None:
    assert decode(frame(TEXT) + frame(CONTINUATION) + frame(FIN) + frame(BINARY) + frame(FIN)) == ["", b""]


def test_control_frames_come_through_between_fragments() -> None:
    sent = frame(TEXT, b"a") + frame(FIN | PING, b"1") + frame(CONTINUATION, b"b") + frame(FIN | PONG, b"2")
    events = [Ping(b"1"), Pong(b"2"), "abc"]
    assert decode(sent + frame(FIN, b"c")) == events
    assert decode(*byte_by_byte(sent + frame(FIN, b"c"))) == events
    assert decode(sent + frame(FIN | CLOSE)) == [Ping(b"1"), Pong(b"2"), Close(1005, "")]


def test_bad_text_in_an_unfinished_fragment_fails_at_once() -> None:
    codec = new_codec()
    assert decode(frame(TEXT, b"\xf0\x90") + header(CONTINUATION, 1000), codec=codec) == []
    assert failure_code(unmask(b"\x80\x41", KEY), codec=codec) == 1007


@pytest.mark.parametrize("cut", [1, 2])
def test_half_a_surrogate_in_fragments_fails_at_its_second_byte(cut: int) -> None:
    codec = new_codec()
    start = frame(TEXT, b"\xed"[: 2 - cut]) + header(CONTINUATION, 1000)
    assert decode(start, *byte_by_byte(unmask(b"\xed"[: cut - 1], KEY)), codec=codec) == []
    assert failure_code(unmask(b"\xa0", KEY, cut - 1), codec=codec) == 1007


@pytest.mark.parametrize("before", range(5))
def test_half_a_surrogate_is_found_wherever_it_is_in_the_frame(before: int) -> None:
    codec = new_codec()
    payload = b"x" * before + b"\xed\xa0"
    assert decode(header(TEXT, 1000), codec=codec) == []
    assert failure_code(unmask(payload, KEY), codec=codec) == 1007
    codec = new_codec()
    assert decode(header(TEXT, 1000) + unmask(payload[:-1], KEY), codec=codec) == []
    assert failure_code(unmask(payload[-1:], KEY, before + 1), codec=codec) == 1007


def test_bytes_of_a_surrogate_are_fine_in_binary_fragments() -> None:
    assert decode(*byte_by_byte(frame(TEXT) + frame(FIN) + frame(BINARY, b"\xed\xa0\x80") + frame(FIN))) == [
        "",
        b"\xed\xa0\x80",
    ]


def test_a_continuation_needs_a_message() -> None:
    assert failure_code(frame(CONTINUATION)) == 1002
    assert failure_code(frame(FIN)) == 1002
    assert decode(frame(TEXT) + frame(FIN) + frame(FIN))[1:] == [
        Failure(1002, "Continuation frame with no message to continue"),
    ]


@pytest.mark.parametrize("first", [TEXT, BINARY, FIN | TEXT, FIN | BINARY])
def test_a_message_does_not_begin_within_another(first: int) -> None:
    assert failure_code(frame(BINARY, b"x") + frame(first, b"y")) == 1002
    assert failure_code(frame(BINARY, b"x"), frame(first, b"y")) == 1002
    assert decode(frame(BINARY, b"x") + frame(FIN | PING) + frame(first, b"y")) == [
        Ping(b""),
        Failure(1002, "New message before the end of a fragmented one"),
    ]


# Control frames.


def test_a_control_frame_waits_for_its_payload() -> None:
    codec = new_codec()
    sent = frame(FIN | PING, b"x" * 125)
    assert decode(*byte_by_byte(sent[:-1]), codec=codec) == []
    assert codec.buffered == len(sent) - 1
    assert decode(sent[-1:], codec=codec) == [Ping(b"x" * 125)]
    assert codec.buffered == 0


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1013, 1014, 3000, 4999])
def test_a_close_gives_code_and_reason(code: int) -> None:
    assert decode(frame(FIN | CLOSE, code.to_bytes(2) + "tschüß".encode())) == [Close(code, "tschüß")]
    assert decode(frame(FIN | CLOSE, code.to_bytes(2))) == [Close(code, "")]


def test_an_empty_close_is_1005() -> None:
    assert decode(frame(FIN | CLOSE)) == [Close(1005, "")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
def test_a_close_with_an_invalid_code_is_1002(code: int) -> None:
    assert decode(frame(FIN | CLOSE, code.to_bytes(2) + b"\xff")) == [
        Failure(1002, f"Close frame with invalid code {code}"),
    ]


def test_a_close_with_one_byte_is_1002() -> None:
    assert failure_code(frame(FIN | CLOSE, b"\x03")) == 1002


def test_a_close_with_a_reason_that_is_not_utf_8_is_1007() -> None:
    assert failure_code(frame(FIN | CLOSE, b"\x03\xe8\xc3")) == 1007


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(opcode: int) -> None:
    assert failure_code(bytes([opcode, 0x80])) == 1002
    assert failure_code(bytes([FIN | opcode, 0xFE])) == 1002
    assert failure_code(bytes([FIN | opcode, 0xFF])) == 1002


# Framing.


@pytest.mark.parametrize("bit", [0x10, 0x20, 0x40])
@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits_are_1002(opcode: int, bit: int) -> None:
    assert failure_code(bytes([FIN | bit | opcode, 0x80])) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcodes_are_1002(opcode: int) -> None:
    assert decode(bytes([FIN | opcode, 0x80])) == [Failure(1002, f"Frame with unknown opcode {opcode}")]


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_frames_without_a_mask_are_1002(opcode: int) -> None:
    assert failure_code(bytes([FIN | opcode, 0x00])) == 1002


@pytest.mark.parametrize(
    "length",
    [
        b"\xfe" + (0).to_bytes(2),
        b"\xfe" + (125).to_bytes(2),
        b"\xff" + (125).to_bytes(8),
        b"\xff" + (65535).to_bytes(8),
        b"\xff" + (1 << 63).to_bytes(8),
        b"\xff" + (2**64 - 1).to_bytes(8),
    ],
)
def test_lengths_in_a_longer_form_or_with_the_high_bit_are_1002(length: bytes) -> None:
    sent = bytes([FIN | BINARY]) + length
    assert failure_code(sent) == 1002
    assert failure_code(*byte_by_byte(sent)) == 1002
    assert decode(sent[:-1]) == []


# Limits.


@pytest.mark.parametrize("limit", [0, 1, 124, 125, 126, 65535, 65536, 1 << 20])
def test_the_declared_length_alone_is_1009(limit: int) -> None:
    codec = new_codec(limit)
    declared = limit + 1
    start = header(FIN | TEXT, declared)[:-4] if declared > 125 else bytes([FIN | TEXT, 0x80 | declared])
    assert decode(start, codec=codec) == [Failure(1009, f"Message of {declared} bytes; at most {limit} are accepted")]
    assert codec.buffered == 0


@pytest.mark.parametrize("limit", [0, 1, 124, 125, 126, 65535, 65536])
def test_a_message_at_the_limit_passes(limit: int) -> None:
    data = b"x" * limit
    assert decode(frame(FIN | BINARY, data) * 2, codec=new_codec(limit)) == [data, data]
    halves = frame(BINARY, data[: limit // 2]) + frame(FIN, data[limit // 2 :])
    assert decode(halves * 2, codec=new_codec(limit)) == [data, data]


def test_fragments_count_together() -> None:
    codec = new_codec(100)
    assert decode(frame(TEXT, b"x" * 60) + frame(FIN, b"x" * 40), codec=codec) == ["x" * 100]
    assert decode(frame(TEXT, b"x" * 60), codec=codec) == []
    assert decode(bytes([FIN, 0x80 | 41]), codec=codec) == [
        Failure(1009, "Message of 101 bytes; at most 100 are accepted"),
    ]


def test_control_frames_do_not_count() -> None:
    assert decode(frame(TEXT, b"x") + frame(FIN | PING, b"longer") + frame(FIN), codec=new_codec(1, 2)) == [
        Ping(b"longer"),
        "x",
    ]


def test_too_many_fragments_are_1009() -> None:
    codec = new_codec(max_fragments=3)
    start = frame(TEXT, b"a") + frame(CONTINUATION, b"b")
    assert decode(start + frame(FIN, b"c"), codec=codec) == ["abc"]
    assert decode(start + frame(CONTINUATION, b"c"), codec=codec) == []
    assert decode(bytes([FIN, 0x80]), codec=codec) == [Failure(1009, "Message in more than 3 fragments")]


def test_new_limits_hold_from_the_next_frame_on() -> None:
    codec = new_codec(10, 1)
    codec.feed(text("12345") * 3 + frame(BINARY, b"x") + frame(CONTINUATION, b"x") + frame(FIN))
    events = codec.events()
    assert next(events) == "12345"
    codec.max_payload_length = 5
    assert next(events) == "12345"
    codec.max_payload_length = 4
    assert codec.max_payload_length == 4
    codec.max_fragments = 2
    assert list(events) == [Failure(1009, "Message of 5 bytes; at most 4 are accepted")]


def test_new_limits_hold_for_a_message_in_fragments() -> None:
    codec = new_codec(10, 1)
    assert decode(frame(BINARY, b"12345"), codec=codec) == []
    codec.max_fragments = 2
    codec.max_payload_length = 4
    assert failure_code(frame(FIN), codec=codec) == 1009


def test_a_frame_that_was_accepted_is_finished_under_a_lower_limit() -> None:
    codec = new_codec()
    sent = frame(FIN | BINARY, b"x" * 500)
    assert decode(sent[:300], codec=codec) == []
    codec.max_payload_length = 10
    assert decode(sent[300:], codec=codec) == [b"x" * 500]


# The end.


@pytest.mark.parametrize("last", [frame(FIN | CLOSE), frame(FIN | CLOSE, b"\x03\xe8"), b"\xff\xff", b"\x81\x00"])
def test_nothing_follows_a_close_or_a_failure(last: bytes) -> None:
    codec = new_codec()
    assert len(decode(text("a") + last + text("b"), codec=codec)) == 2
    assert decode(text("c"), codec=codec) == []
    assert codec.buffered == 0


def test_an_iterator_ends_with_the_failure() -> None:
    codec = new_codec()
    codec.feed(text("a") + b"\x81\x00" + text("b"))
    events = codec.events()
    assert next(events) == "a"
    assert isinstance(next(events), Failure)
    codec.feed(text("c"))
    assert list(events) == []


# Laziness.


@pytest.mark.parametrize("extra", [frame(FIN | PING), frame(TEXT, b"x") + frame(FIN, b"y"), frame(FIN | BINARY, b"z")])
def test_a_dropped_iterator_loses_and_repeats_nothing(extra: bytes) -> None:
    codec = new_codec()
    sent = (text("a") + extra + text("b" * 130)) * 3
    codec.feed(sent[:-7])
    events: list[Event] = []
    for event in codec.events():
        events.append(event)
        if len(events) == 2:
            break
    for event in codec.events():
        events.append(event)
        break
    codec.feed(sent[-7:])
    events += codec.events()
    assert events == decode(sent)


def test_an_iterator_in_use_goes_on_with_what_is_fed() -> None:
    codec = new_codec()
    codec.feed(text("a") + text("b") + text("c")[:5])
    events = codec.events()
    assert next(events) == "a"
    codec.feed(text("c")[5:] + text("d")[:1])
    assert next(events) == "b"
    assert next(events) == "c"
    codec.feed(text("d")[1:])
    assert list(events) == ["d"]


def test_nothing_is_decoded_before_it_is_asked_for() -> None:
    codec = new_codec()
    codec.feed(text("a") + b"\xff\xff")
    assert codec.buffered == len(text("a")) + 2
    assert next(codec.events()) == "a"
    assert codec.buffered == 2


# Memory.


def test_a_frame_holds_what_has_arrived_of_it() -> None:
    codec = new_codec()
    assert decode(header(FIN | BINARY, 1 << 20), codec=codec) == []
    assert codec.buffered == 0
    for read in range(1, 4):
        assert decode(bytes(65536), codec=codec) == []
        assert codec.buffered == read * 65536


@pytest.mark.parametrize("sent", [frame(FIN | BINARY, b"x" * 500), frame(BINARY, b"x" * 499) + frame(FIN, b"x")])
def test_a_message_that_is_out_is_not_held(sent: bytes) -> None:
    codec = new_codec()
    assert decode(sent[:300], codec=codec) == []
    assert codec.buffered > 0
    assert decode(sent[300:], codec=codec) == [b"x" * 500]
    assert codec.buffered == 0


def test_what_is_decoded_is_let_go() -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    codec = new_codec()
    tracemalloc.start()
    try:
        assert decode(frame(FIN | BINARY, bytes(1 << 20)) + b"\x81", codec=codec) == [bytes(1 << 20)]
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codec.buffered == 1
    assert held < 1 << 16


def test_fragments_hold_what_has_arrived_of_them() -> None:
    codec = new_codec()
    assert decode(frame(BINARY, b"x" * 10), codec=codec) == []
    assert codec.buffered == 10
    assert decode(frame(CONTINUATION, b"x" * 5) + frame(FIN | PING, b"x")[:-1], codec=codec) == []
    assert codec.buffered == 15 + 6


@pytest.mark.parametrize("first", [FIN | TEXT, TEXT])
def test_a_byte_at_a_time_takes_no_more_memory_than_the_message(first: int) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    codec = new_codec()
    pieces = 5_000
    assert decode(header(first, 1 << 20), codec=codec) == []
    payload = byte_by_byte(unmask(b"x" * pieces, KEY))
    tracemalloc.start()
    try:
        assert decode(*payload, codec=codec) == []
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codec.buffered == pieces
    assert held < 3 * pieces  # a list of bytes would take 8 for each


# A client's codec: what a server sends has no mask.


def servers_frame(first: int, payload: bytes = b"") -> bytes:
    """Build a server's frame, its length in the shortest form."""
    masked = frame(first, payload, key=bytes(4))
    start = masked.index(bytes(4), len(masked) - len(payload) - 4)
    return masked[:1] + bytes([masked[1] & 0x7F]) + masked[2:start] + payload


def clients_codec(max_payload_length: int = 1 << 24) -> Codec:
    return Codec(max_payload_length, 16384, client=True)


@pytest.mark.parametrize("reads", [1, 2, 7, 1000])
def test_a_server_s_frames_are_found_wherever_the_reads_are_cut(reads: int) -> None:
    sent = (
        servers_frame(FIN | TEXT, "grün".encode())
        + servers_frame(FIN | BINARY, b"x" * 300)
        + servers_frame(TEXT, b"a")
        + servers_frame(FIN | PING, b"p")
        + servers_frame(FIN, b"b")
        + servers_frame(FIN | BINARY, b"y")
        + servers_frame(FIN | CLOSE, b"\x03\xe8bye")
    )
    cuts = [sent[start : start + reads] for start in range(0, len(sent), reads)]
    expected = ["grün", b"x" * 300, Ping(b"p"), "ab", b"y", Close(1000, "bye")]
    assert decode(*cuts, codec=clients_codec()) == expected


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | CLOSE])
def test_a_masked_frame_of_a_server_is_a_framing_error(first: int) -> None:
    assert decode(frame(first), codec=clients_codec()) == [Failure(1002, "Masked frame from a server")]


def test_text_of_a_server_must_be_utf_8() -> None:
    sent = servers_frame(FIN | TEXT, b"ok") + servers_frame(FIN | TEXT, b"\xff")
    assert decode(sent, codec=clients_codec()) == ["ok", Failure(1007, "Text message that is not UTF-8")]


def test_the_limit_of_a_client_holds_from_the_next_frame_on() -> None:
    codec = clients_codec(3)
    codec.feed(servers_frame(FIN | TEXT, b"abc") * 2)
    events = codec.events()
    assert next(events) == "abc"
    codec.max_payload_length = 2
    assert [event.code for event in events if isinstance(event, Failure)] == [1009]


def test_a_client_s_iterator_goes_on_with_what_is_fed_meanwhile() -> None:
    codec = clients_codec()
    codec.feed(servers_frame(FIN | TEXT, b"one"))
    events = codec.events()
    assert next(events) == "one"
    codec.feed(servers_frame(FIN | TEXT, b"two"))
    assert list(events) == ["two"]


# Compressed messages.

RSV1 = 0x40
JSON = '{"type": "message", "text": "hello, grün, hello"}'
takeovers = pytest.mark.parametrize("takeover", [False, True])


def inflating(
    *, takeover: bool = False, limit: int = 1 << 24, max_fragments: int = 16384, client: bool = False
) -> Codec:
    return Codec(limit, max_fragments, client=client, inflater=Inflater(15, takeover=takeover))


def compressed(message: str | bytes, deflater: Deflater | None = None) -> bytes:
    deflater = deflater or Deflater(15, takeover=False)
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    return frame(FIN | RSV1 | opcode, deflater.compress(payload))


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@takeovers
def test_33_compressed_messages_come_out_as_they_were(size: int, takeover: bool) -> None:
    deflater = Deflater(15, takeover=takeover)
    messages: list[str | bytes] = ["", JSON, b"", JSON.encode(), JSON * 100, bytes(70_000), JSON]
    sent = b"".join(compressed(message, deflater) + text("plain") for message in messages)
    got = decode(*(sent[at : at + size] for at in range(0, len(sent), size)), codec=inflating(takeover=takeover))
    assert got[::2] == messages
    assert set(got[1::2]) == {"plain"}


@takeovers
def test_33_compressed_fragments_and_what_stands_between_them(takeover: bool) -> None:
    deflater = Deflater(15, takeover=takeover)
    codec = inflating(takeover=takeover)
    for _ in range(2):
        data = deflater.compress(JSON.encode())
        pieces = [data[index : index + 1] for index in range(len(data))]
        frames = [frame(RSV1 | TEXT, pieces[0]), *(frame(CONTINUATION, piece) for piece in pieces[1:]), frame(FIN)]
        assert decode(frame(FIN | PING, b"p").join(frames), codec=codec) == [Ping(b"p")] * len(data) + [JSON]
        data = deflater.compress(JSON.encode())
        sent = frame(RSV1 | TEXT, data[:3]) + frame(FIN, data[3:]) + text("plain")
        assert decode(*byte_by_byte(sent), codec=codec) == [JSON, "plain"]
        sent = frame(BINARY, b"a") + frame(FIN, b"b")
        assert decode(sent, codec=codec) == [b"ab"]


def test_after_having_inflated_enough_it_goes_on_in_the_next_turn() -> None:
    codec = inflating()
    codec.feed(compressed(bytes(TURN // 2)) * 5 + text("plain"))
    assert [len(event) for event in codec.events() if isinstance(event, bytes)] == [TURN // 2] * 2
    assert list(codec.events()) == []
    assert codec.begin_turn()
    assert len(list(codec.events())) == 2
    assert codec.begin_turn()
    *_, last = codec.events()
    assert last == "plain"
    assert not codec.begin_turn()


def test_a_turn_may_end_within_a_message() -> None:
    codec = inflating()
    message = bytes(TURN)
    data = Deflater(15, takeover=False).compress(message + b"x")
    sent = frame(RSV1 | BINARY, data[:-4]) + frame(FIN | PING) + frame(FIN, data[-4:])
    codec.feed(sent)
    got: list[Event] = []
    while True:
        got += codec.events()
        if not codec.begin_turn():
            break
    assert got == [Ping(b""), message + b"x"]


@pytest.mark.parametrize("opcode", [CONTINUATION, CLOSE, PING, PONG])
def test_33_the_bit_stands_only_where_a_message_begins(opcode: int) -> None:
    begun = frame(RSV1 | BINARY, b"") if opcode == CONTINUATION else b""
    assert failure_code(begun + frame(FIN | RSV1 | opcode), codec=inflating()) == 1002


@pytest.mark.parametrize("bits", [0x20, 0x10, 0x60, 0x50, 0x70])
def test_33_no_other_bit_is_allowed_by_it(bits: int) -> None:
    assert failure_code(frame(FIN | bits | TEXT), codec=inflating()) == 1002


def test_33_without_the_extension_the_bit_is_1002() -> None:
    assert failure_code(compressed(JSON)) == 1002


@pytest.mark.parametrize("reads", [1, 1 << 20])
@pytest.mark.parametrize("first", [FIN | RSV1 | TEXT, RSV1 | TEXT])
def test_33_broken_deflate_is_1007(first: int, reads: int) -> None:
    sent = frame(first, b"\xff" * 200)
    assert failure_code(*(sent[at : at + reads] for at in range(0, len(sent), reads)), codec=inflating()) == 1007


@pytest.mark.parametrize("reads", [1, 1 << 20])
@pytest.mark.parametrize("first", [FIN | RSV1 | TEXT, RSV1 | TEXT])
def test_33_compressed_text_must_be_utf_8(first: int, reads: int) -> None:
    sent = frame(first, Deflater(15, takeover=False).compress(b"ab\xff"))
    assert failure_code(*(sent[at : at + reads] for at in range(0, len(sent), reads)), codec=inflating()) == 1007


@pytest.mark.parametrize("reads", [1, 50, 1 << 20])
@pytest.mark.parametrize("fragments", [1, 2, 30])
def test_33_the_limit_counts_what_a_message_inflates_to(fragments: int, reads: int) -> None:
    data = Deflater(15, takeover=False).compress(b"x" * 20_000 + bytes(range(200)))
    size = -(-len(data) // fragments)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    firsts = [RSV1 | BINARY, *[CONTINUATION] * (len(pieces) - 1)]
    firsts[-1] |= FIN
    sent = b"".join(map(frame, firsts, pieces))
    cuts = [sent[at : at + reads] for at in range(0, len(sent), reads)]
    [message] = decode(*cuts, codec=inflating(limit=20_200))
    assert isinstance(message, bytes)
    assert len(message) == 20_200
    assert failure_code(*cuts, codec=inflating(limit=20_199)) == 1009


def test_33_a_message_that_compression_made_longer_passes_at_its_limit() -> None:
    message = bytes(range(256)) * 2
    blocks = [message[at : at + 32] for at in range(0, len(message), 32)]
    stored = b"".join(b"\x00\x20\x00\xdf\xff" + block for block in blocks) + b"\x00"
    assert len(stored) > 1.15 * len(message)
    assert decode(frame(FIN | RSV1 | BINARY, stored), codec=inflating(limit=512)) == [message]
    cut = frame(RSV1 | BINARY, stored[:500]) + frame(FIN, stored[500:])
    assert decode(cut, codec=inflating(limit=512)) == [message]
    assert decode(*byte_by_byte(cut), codec=inflating(limit=512)) == [message]


@pytest.mark.parametrize("first", [FIN | RSV1 | BINARY, RSV1 | BINARY])
def test_18_a_compressed_frame_that_declares_far_more_than_the_limit_is_refused_at_its_header(first: int) -> None:
    header = bytes([first, 0xFF]) + (1 << 40).to_bytes(8) + KEY
    assert failure_code(header, codec=inflating(limit=512)) == 1009
    most = 512 + 128 + 64
    begun = frame(RSV1 | BINARY, b"") + frame(CONTINUATION, b"") * 2
    for size, failed in ((most, False), (most + 1, True)):
        header = bytes([FIN, 0xFE]) + size.to_bytes(2) + KEY
        got = decode(begun + header, codec=inflating(limit=512))
        assert [type(event) for event in got] == [Failure] * failed


def test_18_short_compressed_fragments_declare_no_more_than_a_long_one_may() -> None:
    most = 512 + 128 + 64
    run = frame(RSV1 | BINARY, b"") + frame(CONTINUATION, b"\x00\x00\x00\xff\xff") * (most // 5)
    assert decode(run, codec=inflating(limit=512)) == []
    assert failure_code(run + frame(CONTINUATION, b"\x00\x00\x00\xff\xff"), codec=inflating(limit=512)) == 1009


def test_18_plain_fragments_after_a_compressed_message_have_no_more_room_than_others() -> None:
    data = Deflater(15, takeover=False).compress(b"hello")
    before = frame(RSV1 | BINARY, data[:2]) + frame(FIN, data[2:])
    assert decode(before + frame(BINARY, b"x" * 40) + frame(FIN, b"x" * 24), codec=inflating(limit=64))[1:] == [
        b"x" * 64
    ]
    codec = inflating(limit=64)
    assert decode(before, codec=codec) == [b"hello"]
    assert failure_code(frame(BINARY, b"x" * 40) + frame(FIN, b"x" * 25), codec=codec) == 1009


def test_33_a_lower_limit_holds_from_the_next_compressed_frame_on() -> None:
    data = Deflater(15, takeover=False).compress(bytes(100))
    codec = inflating(limit=100)
    assert decode(frame(RSV1 | BINARY, data), codec=codec) == []
    codec.max_payload_length = 99
    assert failure_code(frame(FIN), codec=codec) == 1009


def test_33_the_reason_of_a_refusal_names_the_limit() -> None:
    [failure] = decode(compressed(bytes(100)), codec=inflating(limit=99))
    assert failure == Failure(1009, "Message of more than 99 bytes, inflated; no more are accepted")


def test_33_a_server_s_compressed_messages() -> None:
    codec = inflating(client=True)
    data = Deflater(15, takeover=False).compress(JSON.encode())
    whole = bytes([FIN | RSV1 | TEXT, len(data)]) + data
    parts = bytes([RSV1 | TEXT, 9]) + data[:9] + bytes([CONTINUATION, 0]) + bytes([FIN, len(data) - 9]) + data[9:]
    assert decode(whole + parts, codec=codec) == [JSON] * 2
    assert decode(*byte_by_byte(whole + parts), codec=codec) == [JSON] * 2


def test_33_what_is_held_of_a_compressed_message_is_its_inflated_part() -> None:
    compressor_s_flush = b"\x00\x00\xff\xff"
    part = Deflater(15, takeover=False).compress(bytes(1000)) + compressor_s_flush
    codec = inflating()
    assert decode(frame(RSV1 | BINARY, part), codec=codec) == []
    assert codec.buffered == 1000


# Fragments that are there together.


def test_short_fragments_of_one_read_cost_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = FragmentedMessage.begin

    def counted(self: FragmentedMessage, first: int, length: int, key: bytes, limit: int, *, count: int = 1) -> None:
        begun.append(count)
        begin(self, first, length, key, limit, count=count)

    monkeypatch.setattr(FragmentedMessage, "begin", counted)
    run = frame(CONTINUATION, b"x") * 5000
    codec = new_codec()
    assert decode(frame(BINARY, b"x") + run, run + frame(FIN, b"x"), codec=codec) == [b"x" * 10_002]
    assert begun == [5001, 5001]


def test_limits_stay_exact_for_fragments_of_one_read() -> None:
    run = frame(BINARY, b"x") + frame(CONTINUATION, b"x") * 8 + frame(FIN, b"x")
    assert decode(run, codec=new_codec(10, 10)) == [b"x" * 10]
    assert failure_code(run, codec=new_codec(9, 10)) == 1009
    assert failure_code(run, codec=new_codec(10, 9)) == 1009


def test_the_first_of_two_faults_among_fragments_of_one_read_counts() -> None:
    begun = frame(TEXT, b"x") + frame(CONTINUATION, b"\xff") + frame(CONTINUATION, b"x")
    assert failure_code(begun + frame(FIN | TEXT, b"x")) == 1007
    assert failure_code(begun, codec=new_codec(3, 2)) == 1007


def test_a_codec_closed_within_a_fragment_gives_nothing_more() -> None:
    codec = Codec(1000, 10)
    codec.feed(frame(TEXT, b"hello")[:-1])
    assert list(codec.events()) == []
    codec.close()
    codec.close()
    codec.feed(b"o" + frame(FIN | TEXT, b"hello"))
    assert list(codec.events()) == []
    assert codec.buffered == 0
