"""What all connections of a server share, and the sums of what they have done.

Covers `trio_bunws._engine` alone; the sockets are real ones over fakes.
"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio
from engine_fakes import FakeSocket

from trio_bunws._engine import Engine
from trio_bunws._extension import IMPLEMENTATION
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._options import Limits, PerMessageDeflate
from trio_bunws._statistics import ServerStatistics
from trio_bunws._wire.compression import Agreement, Outbound
from trio_bunws._wire.deflate import BACKEND

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._connection import Connection


class FakeConnection:
    """What the engine asks of a connection."""

    def __init__(self, socket: FakeSocket, *, held: bool = False) -> None:
        self.ws = socket.ws
        self._held = trio.Event() if held else None

    @property
    def real(self) -> Connection[Any, Any, Any]:
        return cast("Connection[Any, Any, Any]", self)


async def test_a_new_engine_is_empty_and_idle(nursery: trio.Nursery) -> None:
    slot: HandlerSlot[None] = HandlerSlot(WebSocketHandler())
    limits = Limits(max_headers=7)
    engine = Engine(slot, limits, nursery)
    assert (engine.slot, engine.limits, engine.nursery) == (slot, limits, nursery)
    assert (engine.connections, len(engine.sweeper), len(engine.hub.topics)) == (set(), 0, 0)
    assert (engine.closing, engine.close_by) == (None, None)
    assert not nursery.child_tasks
    assert set(attrs.asdict(engine.statistics(0)).values()) == {0, BACKEND, IMPLEMENTATION, None}


async def test_the_statistics_are_sums_over_past_and_present_sockets(nursery: trio.Nursery) -> None:
    handler = WebSocketHandler[None](backpressure_limit=10)
    engine = Engine(HandlerSlot(handler), Limits(), nursery)
    limits = Limits(max_topics_per_socket=1)
    quick, slow, stuck = (FakeSocket(handler, hub=engine.hub, limits=limits) for _ in range(3))
    engine.connections.update(FakeConnection(fake, held=fake is not quick).real for fake in (quick, slow, stuck))
    stuck.ws.pause()
    engine.hub.ticks, engine.hub.tick_seconds = 2, 0.5
    for fake in (quick, slow, stuck):
        fake.ws.subscribe("room")
    assert not quick.ws.subscribe("too many")
    for fake, size, count in ((quick, 3, 2), (slow, 5, 1), (stuck, 20, 2)):
        fake.sink.room = 100 if fake is quick else 0
        for _ in range(count):
            fake.ws.send(bytes(size))
            fake.ws._outbox.flush()
    quick.ws._messages_in += 4
    quick.ws._bytes_in += 40
    slow.ws._messages_in += 5
    slow.ws._bytes_in += 50
    expected = ServerStatistics(
        connections=9,
        websockets=3,
        messages_in=9,
        messages_out=4,
        bytes_in=90,
        bytes_out=2 * (2 + 3),
        drops=1,
        backpressured_sockets=2,
        paused_sockets=1,
        full_inboxes=1,
        ticks=2,
        tick_seconds=0.5,
        topics=1,
        refused_subscriptions=1,
        compression=BACKEND,
        masking=IMPLEMENTATION,
        broker=None,
    )
    assert engine.statistics(9) == expected

    # One is over: what it has done still counts.
    over = next(connection for connection in engine.connections if connection.ws is quick.ws)
    engine.totals.add(over.ws.statistics())
    engine.connections.discard(over)
    assert engine.statistics(8) == attrs.evolve(expected, connections=8, websockets=2)


def outbounds(nursery: trio.Nursery, deflate: bool | PerMessageDeflate) -> Callable[..., Outbound | None]:
    engine = Engine(HandlerSlot(WebSocketHandler[None](per_message_deflate=deflate)), Limits(), nursery)

    def made(*, client: bool = False, **given: Any) -> Outbound | None:
        return engine.outbound(Agreement(**given), client=client)

    return made


async def test_whose_frames_are_interchangeable_compress_with_one_object(nursery: trio.Nursery) -> None:
    made = outbounds(nursery, True)
    one = made(server_no_context_takeover=True)
    assert one is not None
    assert not one.takeover
    assert made(server_no_context_takeover=True, client_max_window_bits=9) is one
    smaller = made(server_no_context_takeover=True, server_max_window_bits=9)
    assert smaller is not one
    assert made(server_no_context_takeover=True, server_max_window_bits=9) is smaller
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None, "nobody compresses with it any more"


async def test_with_context_takeover_each_compresses_with_its_own(nursery: trio.Nursery) -> None:
    made = outbounds(nursery, PerMessageDeflate(compress="dedicated"))
    one, other = made(), made()
    assert one is not None
    assert other is not None
    assert one.takeover
    assert one is not other


async def test_a_client_compresses_with_what_was_agreed_for_clients(nursery: trio.Nursery) -> None:
    made = outbounds(nursery, PerMessageDeflate(compress="dedicated"))
    theirs = made(client=True, client_no_context_takeover=True)
    ours = made(client=False, client_no_context_takeover=True)
    assert theirs is not None
    assert ours is not None
    assert (theirs.takeover, ours.takeover) == (False, True)


async def test_without_an_agreement_or_a_compressor_nothing_is_compressed(nursery: trio.Nursery) -> None:
    assert outbounds(nursery, PerMessageDeflate(compress=False))(server_no_context_takeover=True) is None
    engine = Engine(HandlerSlot(WebSocketHandler[None](per_message_deflate=True)), Limits(), nursery)
    assert engine.outbound(None, client=False) is None
