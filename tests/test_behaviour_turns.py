"""Messages that come while others have their turn, while the socket is paused, and while its inbox is full.

Nothing is lost, doubled or out of order (BEHAVIOUR.md, 20, 22, 28 and 33), however the reads are cut, whichever kind of
handler there is, and however the connection ends. Turns are as short as they can be here, and both kinds of link are
used: from a kernel socket another task reads than from a stream.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

import trio
from hypothesis import given, settings, strategies as st
from links import Pair, kernel, memory, served
from trio.testing import MockClock

from trio_bunws import Compressor, ConnectionClosed, PerMessageDeflate, ReadyState, WebSocketHandler, _connection
from trio_bunws._wire import codec, deflate
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from playground import Socket

TEXT, BINARY, PING = 1, 2, 9
COMPRESSED = 4
HANGS: Final = 1000.0
"""Seconds, of a clock that jumps, after which a connection does."""
OFFER = (("Sec-WebSocket-Extensions", "permessage-deflate"),)
DECOMPRESS: Final[dict[bool, Compressor]] = {False: "shared", True: "dedicated"}
KINDS = ("plain", "async", "session", "text is async")


class Step(NamedTuple):
    """A message or ping, and what its handler does."""

    opcode: int
    size: int
    compressed: bool
    parts: int
    """In how many fragments it comes."""
    pause: int | None
    """The handler pauses the socket, for so many passes of the scheduler; None: it does not."""
    passes: int
    """An async handler takes so many."""


class World(NamedTuple):
    """What all of a sequence has in common."""

    link: Callable[[], Pair]
    kind: str
    max_inbox: int
    takeover: bool
    read: int
    """Bytes that the peer sends at a time."""
    closes: bool
    """The peer closes in the end; else its stream just ends."""


STEPS: Final = st.lists(
    st.builds(
        Step,
        opcode=st.sampled_from([TEXT, TEXT, BINARY, BINARY, PING]),
        size=st.sampled_from([0, 1, 30, 200]),
        compressed=st.booleans(),
        parts=st.sampled_from([1, 1, 2, 3]),
        pause=st.sampled_from([None, None, None, 0, 1, 7]),
        passes=st.sampled_from([0, 0, 1, 5]),
    ),
    min_size=1,
    max_size=30,
)
WORLDS: Final = st.builds(
    World,
    link=st.sampled_from([memory, kernel]),
    kind=st.sampled_from(KINDS),
    max_inbox=st.sampled_from([1, 2, 16]),
    takeover=st.booleans(),
    read=st.sampled_from([1, 7, 100, 5000]),
    closes=st.booleans(),
)


async def passes(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


class Application:
    """Handlers that note what they get, and do what the step of its number says."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.got: list[bytes] = []
        self.pings: list[bytes] = []
        self.ends: list[tuple[int, str]] = []

    def handler(self, world: World) -> WebSocketHandler[Any]:
        by_kind: dict[str, dict[str, Any]] = {
            "plain": {"message": self.plain},
            "async": {"message": self.slow},
            "session": {"session": self.session},
            "text is async": {"text": self.slow, "binary": self.plain},
        }
        return WebSocketHandler(
            **by_kind[world.kind],
            ping=lambda ws, data: self.note(ws, self.pings, bytes(data)),
            close=lambda _ws, code, reason: self.ends.append((code, reason)),
            max_inbox=world.max_inbox,
            per_message_deflate=PerMessageDeflate(
                compress=False, decompress="dedicated" if world.takeover else "shared"
            ),
        )

    def note(self, ws: Socket, where: list[bytes], data: bytes) -> Step:
        where.append(data)
        step = self.steps[int(data.split()[0])]
        if step.pause is not None and ws.ready_state is ReadyState.OPEN:
            ws.pause()
            ws.start_soon(self.resume, ws, step.pause)
        return step

    async def resume(self, ws: Socket, after: int) -> None:
        await passes(after)
        ws.resume()

    def plain(self, ws: Socket, message: str | bytes) -> None:
        self.note(ws, self.got, message.encode() if isinstance(message, str) else message)

    async def slow(self, ws: Socket, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        await passes(self.note(ws, self.got, data).passes)

    async def session(self, ws: Socket) -> None:
        try:
            async for message in ws:
                await self.slow(ws, message)
        except ConnectionClosed:
            pass  # how it ends, the close handler notes


def frames(steps: list[Step], *, takeover: bool) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return what a peer sends, and the messages and pings that this is."""
    deflater = deflate.Deflater(15, takeover=takeover)
    sent: list[bytes] = []
    messages: list[bytes] = []
    pings: list[bytes] = []
    for number, step in enumerate(steps):
        data = b"%d " % number
        if step.opcode == PING:
            pings.append(data)
            sent.append(RawPeer.frame(PING, data))
            continue
        data += b"x" * step.size
        messages.append(data)
        payload = deflater.compress(data) if step.compressed else data
        size = -(-len(payload) // step.parts)
        for part in range(step.parts):
            first = not part
            sent.append(
                RawPeer.frame(
                    step.opcode if first else 0,
                    payload[part * size : (part + 1) * size],
                    fin=part == step.parts - 1,
                    rsv=COMPRESSED if first and step.compressed else 0,
                )
            )
    return b"".join(sent), messages, pings


async def story(world: World, steps: list[Step]) -> None:
    application = Application(steps)
    sent, messages, pings = frames(steps, takeover=world.takeover)
    if world.closes:
        sent += RawPeer.close_frame(1000, "bye")
    async with served(application.handler(world), world.link) as place:
        peer = await place.open(headers=OFFER)
        with trio.fail_after(HANGS):
            for start in range(0, len(sent), world.read):
                await peer.send(sent[start : start + world.read])
        if not world.closes:
            assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
            await peer.stream.send_eof()
        with trio.fail_after(HANGS):
            await place.sockets[-1].closed()
        await peer.stream.aclose()
    assert application.got == messages
    assert application.pings == pings
    assert application.ends == [(1000, "bye") if world.closes else (1006, "")]


@settings(max_examples=100)
@given(world=WORLDS, steps=STEPS)
def test_what_waits_for_a_turn_a_resume_or_room_is_handled_once_and_in_order(world: World, steps: list[Step]) -> None:
    with ExitStack() as stack:
        for where, name, value in (
            (_connection, "EVENTS_PER_TURN", 6),
            (_connection, "EVENTS_PER_LOOK", 3),
            (codec, "TURN", 100),
            (deflate, "TURN", 100),
        ):
            stack.enter_context(mock.patch.object(where, name, value))
        # The clock jumps when everybody waits, so that a connection that waits in vain is found at once.
        trio.run(story, world, steps, clock=MockClock(autojump_threshold=0))
