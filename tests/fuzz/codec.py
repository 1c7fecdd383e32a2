"""Fuzz target: a peer's stream of WebSocket frames, through the codec.

The first byte chooses which side the codec is on, what its limits are, and whether messages may be compressed. Whatever
comes, and however it is cut, gives the same events; without limits these are wsproto's too, and nothing is held that
the limits do not allow.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from unittest import mock

from test_codec_equality import NO_LIMIT, by_wsproto, without_reason

from trio_bunws._close import cut_reason
from trio_bunws._wire import codec as codec_module, frames
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.deflate import MAX_BITS, Inflater
from trio_bunws._wire.events import Close, Event, Failure, Ping, Pong
from trio_bunws._wire.ready import ReadyMessages

LONGEST_HEADER: Final = 14
LONGEST_CONTROL: Final = 131
"""Bytes of a control frame."""


class Kind(NamedTuple):
    """How the codec under test is made."""

    client: bool
    max_payload_length: int
    max_fragments: int
    takeover: bool | None = None
    """Whether a compressed message may refer to those before it; None: none may be compressed."""

    def codec(self) -> Codec:
        return Codec(self.max_payload_length, self.max_fragments, client=self.client, inflater=self.inflater())

    def inflater(self) -> Inflater | None:
        return None if self.takeover is None else Inflater(MAX_BITS, takeover=self.takeover)


KINDS: Final = (
    Kind(client=False, max_payload_length=NO_LIMIT, max_fragments=NO_LIMIT),
    Kind(client=True, max_payload_length=NO_LIMIT, max_fragments=NO_LIMIT),
    Kind(client=False, max_payload_length=64, max_fragments=3),
    Kind(client=True, max_payload_length=64, max_fragments=3),
    Kind(client=False, max_payload_length=NO_LIMIT, max_fragments=NO_LIMIT, takeover=True),
    Kind(client=True, max_payload_length=NO_LIMIT, max_fragments=NO_LIMIT, takeover=False),
    Kind(client=False, max_payload_length=64, max_fragments=3, takeover=False),
    Kind(client=True, max_payload_length=64, max_fragments=3, takeover=True),
)
"""By the first byte of the input; those further on are added here."""


def check(data: bytes) -> None:
    """Decode ``data`` in one piece, in two, in small ones, and byte by byte; compare these, and with wsproto alone.

    Where the extension in C is, the first is compared with plain Python too.
    """
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    stream = data[1:]
    events = decode(kind, [stream])
    with mock.patch.object(codec_module, "_ready_messages", ReadyMessages), mock.patch.object(frames, "c_unmask", None):
        assert decode(kind, [stream]) == events, "in plain Python"
    expected = comparable(kind, events)
    for size in (1, 2 + len(stream) % 31):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert comparable(kind, decode(kind, pieces)) == expected, f"in pieces of {size} bytes"
    for cut in (len(stream) // 4, len(stream) // 2):
        assert comparable(kind, decode(kind, [stream[:cut], stream[cut:]])) == expected, f"cut at {cut}"
    if kind.max_payload_length == NO_LIMIT:
        compare_with_wsproto(kind, stream, events)


def comparable(kind: Kind, events: list[Event]) -> list[Event]:
    """Leave out of a failure what depends on the cuts, where messages may be compressed.

    A message may be too long, broken and no text at once; which is seen first is then a matter of how much is there.
    """
    if kind.takeover is None or not events or not isinstance(events[-1], Failure):
        return events
    return [*events[:-1], Failure(1002 if events[-1].code == 1002 else 1007, "")]


def decode(kind: Kind, reads: list[bytes]) -> list[Event]:
    """Decode these reads; what is held after each must be within the limits."""
    codec = kind.codec()
    events: list[Event] = []
    for read in reads:
        codec.feed(read)
        while True:
            for event in codec.events():
                assert not events or not isinstance(events[-1], Close | Failure), "an event after the last"
                check_event(kind, event)
                events.append(event)
            if not codec.begin_turn():
                break
        assert codec.buffered <= kind.max_payload_length + max(LONGEST_HEADER, LONGEST_CONTROL)
    if events and isinstance(events[-1], Close | Failure):
        assert codec.buffered == 0
    return events


def check_event(kind: Kind, event: Event) -> None:
    """Look at one event by itself."""
    match event:
        case str():
            assert len(event.encode()) <= kind.max_payload_length
        case bytes():
            assert len(event) <= kind.max_payload_length
        case Ping(data=data) | Pong(data=data):
            assert len(data) <= 125
        case Close(code=code, reason=reason):
            assert code == 1005 or 1000 <= code < 5000
            assert len(reason.encode()) <= 123
        case Failure(code=code, reason=reason):
            assert code in {1002, 1007, 1009}
            assert cut_reason(reason) == reason


def compare_with_wsproto(kind: Kind, stream: bytes, events: list[Event]) -> None:
    """Compare with wsproto alone, but for the differences that tests/test_codec_equality.py lists."""
    expected = by_wsproto(stream, client=kind.client, inflater=kind.inflater())
    ours = without_reason(events)
    if expected == ours:
        return
    last = ours.pop()
    assert expected[: len(ours)] == ours
    missed = expected[len(ours) :]
    match last:
        case Close(code=1014):
            assert missed == [Failure(1002, "")]
        case Failure(code=1002):
            # wsproto has a payload inflated before it finds that no frame may stand there.
            inflated = kind.takeover is not None and missed == [Failure(1007, "")]
            assert not missed or inflated, "a failure of ours alone"
        case Failure(code=1007):
            # wsproto waits for the third byte of a surrogate, during which control frames may come.
            assert not any(isinstance(event, str | bytes) for event in missed), "a failure of ours alone"
        case _:
            raise AssertionError(f"{last!r}, which wsproto does not see")
