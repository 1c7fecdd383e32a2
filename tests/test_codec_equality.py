"""The codec against wsproto alone: the same random frames, good and bad, cut at random places, give equal events.

This is what allows the codec its short paths. Differences that are wanted, and no others:

* wsproto refuses the Close code 1014, which has been registered since.
* wsproto has no limits (1009).
* The codec may fail earlier, within a header, or at the second byte of a surrogate in text.
* The reasons of failures are ours.

With compression, wsproto has our own extension, since its own one has faults that ours was written to avoid.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given, settings, strategies as st
from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping as WsprotoPing, Pong as WsprotoPong, TextMessage

from trio_bunws._wire.codec import Codec
from trio_bunws._wire.deflate import Deflater, Inflater
from trio_bunws._wire.events import Close, Event, Failure, Ping, Pong
from trio_bunws._wire.messages import InflatingExtension

if TYPE_CHECKING:
    from wsproto.extensions import Extension

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
pytestmark = pytest.mark.usefixtures("implementation")
NO_LIMIT = 1 << 64


class Frame(NamedTuple):
    """A client's frame, as wrong as it likes."""

    payload: bytes
    opcode: int = TEXT
    final: bool = True
    reserved: int = 0
    key: bytes | None = b"\x11\x82\xf3\x04"
    form: int = 0
    """0: the shortest form of the length; 2, 8: as many bytes."""
    high_bit: bool = False

    def __bytes__(self) -> bytes:
        length = len(self.payload)
        form = self.form or (0 if length < 126 else 2 if length < 1 << 16 else 8)
        size = length.to_bytes(1) if form == 0 else bytes([126 if form == 2 else 127]) + length.to_bytes(form)
        if form == 8 and self.high_bit:
            size = size[:1] + bytes([size[1] | 0x80]) + size[2:]
        first = self.final << 7 | self.reserved << 4 | self.opcode
        if self.key is None:
            return bytes([first]) + size + self.payload
        masked = bytes(byte ^ self.key[index % 4] for index, byte in enumerate(self.payload))
        return bytes([first, size[0] | 0x80]) + size[1:] + self.key + masked


def by_wsproto(data: bytes, *, client: bool = False, inflater: Inflater | None = None) -> list[Event]:
    """Decode with wsproto alone, or with our extension; a failure has no reason."""
    extensions: list[Extension] = []
    if inflater is not None:
        extension = InflatingExtension(inflater)
        extension.limit = NO_LIMIT
        extensions.append(extension)
    connection = Connection(CLIENT if client else SERVER, extensions)
    connection.receive_data(data)
    events: list[Event] = []
    text, binary = "", b""
    for event in connection.events():
        match event:
            case TextMessage():
                text += event.data
                if event.message_finished:
                    events.append(text)
                    text = ""
            case BytesMessage():
                binary += event.data
                if event.message_finished:
                    events.append(binary)
                    binary = b""
            case WsprotoPing():
                events.append(Ping(bytes(event.payload)))
            case WsprotoPong():
                events.append(Pong(bytes(event.payload)))
            case CloseConnection() if connection.state is ConnectionState.OPEN:
                events.append(Failure(int(event.code), ""))
            case CloseConnection():
                events.append(Close(int(event.code), event.reason or ""))
            case _:
                raise AssertionError(event)
    return events


def by_codec(*reads: bytes, codec: Codec | None = None) -> list[Event]:
    """Decode with our codec."""
    codec = codec or Codec(NO_LIMIT, NO_LIMIT)
    events: list[Event] = []
    for read in reads:
        codec.feed(read)
        events += codec.events()
    return events


def without_reason(events: list[Event]) -> list[Event]:
    return [Failure(event.code, "") if isinstance(event, Failure) else event for event in events]


def from_a_server(frames: list[Frame]) -> list[Frame]:
    """Make of a client's frames, good and bad, a server's: those with a mask lose it, those without get one."""
    return [frame._replace(key=b"\x11\x82\xf3\x04" if frame.key is None else None) for frame in frames]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]


KEYS = st.sampled_from([b"\x00\x00\x00\x00", b"\x11\x82\xf3\x04", b"\x00\x00\x00\xff"]) | st.binary(
    min_size=4, max_size=4
)
SHORT_TEXT = st.text(max_size=12)
LONG_TEXT = st.builds(
    lambda text, length: (text * (length // len(text)))[:length],
    st.text(min_size=1, max_size=6),
    st.sampled_from([124, 125, 126, 300, 9000]),
)
GOOD_TEXT = st.builds(str.encode, SHORT_TEXT | SHORT_TEXT | LONG_TEXT)
BROKEN = st.sampled_from([b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xe2\x82", b"\xff"])
BAD_TEXT = st.builds(lambda before, broken, after: before + broken + after, GOOD_TEXT, BROKEN, GOOD_TEXT)
BYTES = st.binary(max_size=20) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=4), st.integers(30, 3000))
CODES = st.sampled_from([0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1011, 1013, 1015, 2999, 3000, 4999, 5000])
# 1014 is left out: the first of the wanted differences.
CLOSE_BODIES = (
    st.just(b"")
    | st.binary(max_size=1)
    | st.builds(
        lambda code, reason: (code.to_bytes(2) + reason)[:125],
        CODES | st.integers(0, 65535).filter(lambda code: code != 1014),
        st.builds(str.encode, SHORT_TEXT) | st.builds(bytes.__add__, st.builds(str.encode, SHORT_TEXT), BROKEN),
    )
)


def frames_of(payloads: st.SearchStrategy[bytes], *opcodes: int) -> st.SearchStrategy[Frame]:
    """Draw whole frames that are right but for their payload."""
    return st.builds(
        lambda payload, opcode, key: Frame(payload, opcode, key=key), payloads, st.sampled_from(opcodes), KEYS
    )


PINGS = frames_of(st.binary(max_size=125), PING, PONG)
SHORT = frames_of(st.builds(str.encode, SHORT_TEXT), TEXT, BINARY)
WHOLE = frames_of(GOOD_TEXT, TEXT) | frames_of(BYTES, BINARY) | frames_of(BAD_TEXT, TEXT, BINARY)
CLOSES = frames_of(CLOSE_BODIES, CLOSE)
ANY_FRAME = st.builds(
    Frame,
    payload=GOOD_TEXT | BAD_TEXT | BYTES | CLOSE_BODIES,
    opcode=st.integers(0, 15) | st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]),
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
    key=KEYS | KEYS | st.none(),
    form=st.sampled_from([0, 0, 0, 0, 2, 8]),
    high_bit=st.booleans(),
)


@st.composite
def fragmented(draw: st.DrawFn) -> list[Frame]:
    """Draw one message in fragments, with control frames in between."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(GOOD_TEXT | GOOD_TEXT | BAD_TEXT)
    pieces = cut(payload, draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=4)))
    frames: list[Frame] = []
    for number, piece in enumerate(pieces):
        frames += draw(st.lists(PINGS, max_size=1)) if number else []
        kind = CONTINUATION if number else opcode
        frames.append(Frame(piece, kind, final=number == len(pieces) - 1, key=draw(KEYS)))
    return frames


def sequences(groups: st.SearchStrategy[list[Frame]]) -> st.SearchStrategy[list[Frame]]:
    """Draw groups of frames, one after another."""
    return st.lists(groups, max_size=6).map(lambda drawn: [frame for group in drawn for frame in group])


def splits_a_surrogate(frames: list[Frame]) -> bool:
    """Tell whether a fragment ends after the second byte of a surrogate, where the codec fails and wsproto waits."""
    tail = b""
    for frame in frames:
        if frame.opcode < CLOSE:
            tail = b"" if frame.final else (tail + frame.payload)[-2:]
            if b"\xed\xa0" <= tail <= b"\xed\xbf":
                return True
    return False


SINGLE = st.builds(lambda frame: [frame], SHORT | WHOLE | PINGS)
RUN = st.lists(SHORT, max_size=5)
GOOD = sequences(RUN | SINGLE | fragmented())
ANY = sequences(RUN | SINGLE | fragmented() | st.builds(lambda frame: [frame], ANY_FRAME | CLOSES)).filter(
    lambda frames: not splits_a_surrogate(frames)
)
PLACES = st.lists(st.integers(0, 1_000_000), max_size=8)


@settings(max_examples=300)
@given(frames=ANY, places=PLACES)
@example(frames=[Frame(b"x" * 65_535), Frame(b"x" * 65_536), Frame(b"")], places=[70_000, 131_000])
@example(frames=[Frame(b"x" * 70_000, final=False), Frame(b"y" * 70_000, CONTINUATION)], places=[70_001])
def test_random_frames_give_the_same_events(frames: list[Frame], places: list[int]) -> None:
    data = b"".join(map(bytes, frames))
    events = by_codec(*cut(data, places))
    assert without_reason(events) == by_wsproto(data)


@settings(max_examples=120)
@given(frames=GOOD, last=st.lists(ANY_FRAME | CLOSES, max_size=2), places=PLACES)
def test_the_cuts_make_no_difference(frames: list[Frame], last: list[Frame], places: list[int]) -> None:
    data = b"".join(map(bytes, frames + last))
    events = by_codec(data)
    assert by_codec(*cut(data, places)) == events
    # Byte by byte every frame takes the plain path, in one read every frame that may takes the short one.
    step = 1 + len(data) // 10_000  # of long ones it would take as long as of all others together
    assert by_codec(*(data[index : index + step] for index in range(0, len(data), step))) == events


@settings(max_examples=120)
@given(frames=ANY, end=st.integers(0, 1_000_000))
def test_the_beginning_of_a_stream_gives_the_beginning_of_its_events(frames: list[Frame], end: int) -> None:
    data = b"".join(map(bytes, frames))
    beginning = data[: end % (len(data) + 1)]
    events = by_codec(beginning)
    assert by_codec(data)[: len(events)] == events
    expected = by_wsproto(beginning)
    assert without_reason(events)[: len(expected)] == expected
    assert all(isinstance(event, Failure) for event in events[len(expected) :])


@settings(max_examples=120)
@given(frames=ANY, places=PLACES, takes=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_dropped_and_kept_iterators_lose_and_repeat_nothing(
    frames: list[Frame], places: list[int], takes: list[int]
) -> None:
    data = b"".join(map(bytes, frames))
    codec = Codec(NO_LIMIT, NO_LIMIT)
    events: list[Event] = []
    iterator = codec.events()
    for number, read in enumerate(cut(data, places)):
        codec.feed(read)
        take = takes[number % len(takes)]
        if take % 2:  # otherwise the one in use goes on
            iterator = codec.events()
        events += islice(iterator, take)
    events += codec.events()
    assert events == by_codec(data)


def within_limits(frames: list[Frame], max_length: int, max_fragments: int) -> int:
    """Count the frames before the first that breaks a limit."""
    total = count = 0
    for number, frame in enumerate(frames):
        if frame.opcode < CLOSE:
            total += len(frame.payload)
            count += 1
            if total > max_length or count > max_fragments:
                return number
            if frame.final:
                total = count = 0
    return len(frames)


@settings(max_examples=120)
@given(
    frames=GOOD | sequences(fragmented()),
    places=PLACES,
    max_length=st.integers(0, 30) | st.sampled_from([124, 125, 126, 300, 9000]),
    max_fragments=st.integers(1, 5),
)
def test_limits_end_the_events_at_the_frame_that_breaks_them(
    frames: list[Frame], places: list[int], max_length: int, max_fragments: int
) -> None:
    good = within_limits(frames, max_length, max_fragments)
    expected = without_reason(by_codec(b"".join(map(bytes, frames[:good]))))
    if good < len(frames) and not any(isinstance(event, Failure) for event in expected):
        expected.append(Failure(1009, ""))
    data = b"".join(map(bytes, frames))
    codec = Codec(max_length, max_fragments)
    assert without_reason(by_codec(*cut(data, places), codec=codec)) == expected


@settings(max_examples=30)
@given(reason=st.text(max_size=30))
@example(reason="")
def test_1014_is_a_code_like_1013(reason: str) -> None:
    data = [bytes(Frame(code.to_bytes(2) + reason.encode(), CLOSE)) for code in (1013, 1014)]
    assert by_codec(data[0]) == [Close(1013, reason)]
    assert by_codec(data[1]) == [Close(1014, reason)]
    assert by_wsproto(data[1]) == [Failure(1002, "")]


@settings(max_examples=200)
@given(frames=ANY.map(from_a_server), places=PLACES)
@example(frames=from_a_server([Frame(b"x" * 65_535), Frame(b"x" * 65_536), Frame(b"")]), places=[70_000, 131_000])
def test_a_server_s_frames_give_the_same_events_too(frames: list[Frame], places: list[int]) -> None:
    data = b"".join(map(bytes, frames))
    events = by_codec(*cut(data, places), codec=Codec(NO_LIMIT, NO_LIMIT, client=True))
    assert without_reason(events) == by_wsproto(data, client=True)


@settings(max_examples=100)
@given(frames=GOOD.map(from_a_server), last=st.lists(ANY_FRAME | CLOSES, max_size=2).map(from_a_server), places=PLACES)
def test_the_cuts_make_no_difference_to_a_server_s_frames(
    frames: list[Frame], last: list[Frame], places: list[int]
) -> None:
    def events_of(*reads: bytes) -> list[Event]:
        return by_codec(*reads, codec=Codec(NO_LIMIT, NO_LIMIT, client=True))

    data = b"".join(map(bytes, frames + last))
    events = events_of(data)
    assert events_of(*cut(data, places)) == events
    assert events_of(*(data[index : index + 1] for index in range(len(data)))) == events


# Compressed.


NO_TEXT = st.builds(lambda before, after: before + b"\xff" + after, GOOD_TEXT, GOOD_TEXT)
"""Without surrogates, since it is not known here where fragments of compressed text split them."""


@st.composite
def compressed(draw: st.DrawFn, *, takeover: bool) -> list[Frame]:
    """Draw messages, most of them compressed by one compressor, some broken, whole or in fragments."""
    deflater = Deflater(draw(st.integers(9, 15)), takeover=takeover)
    frames: list[Frame] = []
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(GOOD_TEXT | GOOD_TEXT | NO_TEXT | (BYTES if opcode == BINARY else GOOD_TEXT))
        reserved = draw(st.sampled_from([4, 4, 4, 0]))
        if reserved:
            payload = deflater.compress(payload)
            if draw(st.integers(0, 9)) == 0:
                place = draw(st.integers(0, len(payload) - 1))
                payload = draw(
                    st.sampled_from(
                        [payload[:place], payload + payload, payload[:place] + b"\xff" + payload[place + 1 :]]
                    )
                )
        pieces = cut(payload, draw(st.lists(st.integers(0, 10_000), max_size=4)))
        for number, piece in enumerate(pieces):
            frames += draw(st.lists(PINGS, max_size=1)) if number else []
            first = draw(st.integers(0, 30))
            frames.append(
                Frame(
                    piece,
                    CONTINUATION if number else opcode,
                    final=number == len(pieces) - 1,
                    reserved=reserved if not number else 4 if first == 0 else 0,
                    key=draw(KEYS),
                )
            )
    return frames


@settings(max_examples=150)
@given(
    data=st.data(), takeover=st.booleans(), client=st.booleans(), last=st.lists(ANY_FRAME, max_size=1), places=PLACES
)
def test_compressed_messages_give_the_same_events(
    data: st.DataObject, takeover: bool, client: bool, last: list[Frame], places: list[int]
) -> None:
    frames = data.draw(compressed(takeover=takeover)) + last
    sent = b"".join(map(bytes, from_a_server(frames) if client else frames))
    expected = by_wsproto(sent, client=client, inflater=Inflater(15, takeover=takeover))

    def events_of(*reads: bytes) -> list[Event]:
        inflater = Inflater(15, takeover=takeover)
        return by_codec(*reads, codec=Codec(NO_LIMIT, NO_LIMIT, client=client, inflater=inflater))

    for reads in ([sent], cut(sent, places), [sent[index : index + 1] for index in range(len(sent))]):
        got = without_reason(events_of(*reads))
        if got[-1:] == [Failure(1002, "")] and expected[-1:] == [Failure(1007, "")]:
            # wsproto has a payload inflated before it finds that no frame may stand there.
            got[-1] = expected[-1]
        assert got == expected


def test_what_may_not_stand_there_is_not_inflated() -> None:
    sent = b"".join(map(bytes, [Frame(b"\x02\x00", TEXT, reserved=4), Frame(b"\x06", CONTINUATION, final=False)]))
    codec = Codec(NO_LIMIT, NO_LIMIT, inflater=Inflater(15, takeover=True))
    assert without_reason(by_codec(sent, codec=codec)) == ["", Failure(1002, "")]
    assert by_wsproto(sent, client=False, inflater=Inflater(15, takeover=True)) == ["", Failure(1007, "")]
