"""A connection that ends inside a frame, at every byte of a conversation: by a loss, an end of stream, or silence.

After each cut the close handler has run once, and neither a topic, a task nor a count is left.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from faults import LIMITS, Watch
from playground import settled

from trio_bunws import open_server
from trio_bunws.testing import MemoryListener, RawPeer, cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MESSAGES = [
    RawPeer.frame(TEXT, b"short"),
    RawPeer.frame(BINARY, b"x" * 200),
    RawPeer.frame(PING, b"?"),
    RawPeer.frame(TEXT, "ü".encode()[:1], fin=False),
    RawPeer.frame(PONG),
    RawPeer.frame(CONTINUATION, "ü".encode()[1:] + b"!", fin=False),
    RawPeer.frame(CONTINUATION),
    # A length of eight bytes: cut in its header, at the beginning and at the end of its payload.
    RawPeer.frame(BINARY, b"y" * 65536),
    RawPeer.frame(TEXT, b"z"),
]
WHOLE = RawPeer.request() + b"".join(MESSAGES) + RawPeer.close_frame(4000, "bye")
LONG = WHOLE.index(b"\x82\xff\x00")
CUTS = [cut for cut in range(len(WHOLE) + 1) if not LONG + 20 < cut < LONG + 65536]


async def loss(peer: RawPeer) -> None:
    cut(peer)


async def end(peer: RawPeer) -> None:
    assert isinstance(peer.stream, trio.abc.HalfCloseableStream)
    await peer.stream.send_eof()


async def silence(_peer: RawPeer) -> None:
    """Say nothing more until the server has given up: 120 s, and 10 s before there is a WebSocket."""
    await trio.sleep(150)


@pytest.mark.parametrize("fault", [loss, end, silence])
async def test_a_cut_at_any_byte_leaves_nothing(
    fault: Callable[[RawPeer], Awaitable[None]], autojump_clock: MockClock
) -> None:
    watch = Watch()
    listener = MemoryListener()
    async with open_server(watch.fetch, watch.handler(), listeners=[listener], limits=LIMITS) as server:
        for at in CUTS:
            await settled()
            watch.begin()
            watch.messages.clear()
            before = len(watch.closes)
            peer = RawPeer(await listener.connect())
            await peer.send(WHOLE[:at])
            await settled()
            await fault(peer)
            await watch.gone(server)
            await trio.aclose_forcefully(peer.stream)

            # Whole messages were delivered, and no other.
            arrived = WHOLE[len(RawPeer.request()) : at]
            assert len(watch.messages) == sum(
                len(b"".join(MESSAGES[: index + 1])) <= len(arrived) for index in (0, 1, 6, 7, 8)
            )
            closes = [code for _, code, _ in watch.closes[before:]]
            assert closes == ([] if at < len(RawPeer.request()) else [4000 if at == len(WHOLE) else 1006])
