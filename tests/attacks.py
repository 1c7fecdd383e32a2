"""A server under attack: what every test of an attack has in common, the memory it takes and the answers others get.

`under_attack` serves, with a bystander beside the attackers; it fails the test if memory grows beyond the test's bound
or the bystander is not answered, and logs both. Only `test_attacks_*.py` use it.
"""

from __future__ import annotations

import gc
import logging
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from trio_bunws import Request, Response, Server, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from playground import Socket

    Connect: TypeAlias = "Callable[[], Awaitable[RawPeer]]"

logger = logging.getLogger("attacks")
KIB = 1024
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
QUESTION, ANSWER = "is anybody there?", "yes"


def fetch_or_upgrade(request: Request, server: Server[Any]) -> Response | None:
    """Upgrade what asks for it, and say hello to the rest."""
    if "upgrade" in request.headers and server.upgrade(request):
        return None
    return Response("hello")


class Attack:
    """A server, the way to it, and what the attack has cost so far."""

    def __init__(self, server: Server[Any], connect: Connect, bystander: RawPeer) -> None:
        self.server = server
        self.connect: Connect = connect
        """Begin a connection."""
        self.answers = 0
        """How often the bystander has asked, and been answered."""
        self._bystander = bystander
        self._before = tracemalloc.get_traced_memory()[0]

    async def open(self) -> RawPeer:
        """Open a WebSocket."""
        peer = await self.connect()
        await peer.upgrade()
        return peer

    async def others_are_answered(self) -> None:
        """Let the bystander ask over its WebSocket, and somebody new over HTTP."""
        await self._bystander.send_text(QUESTION)
        assert await self._bystander.receive_text() == ANSWER
        async with await self.connect() as peer:
            await peer.send(GET)
            assert (await peer.receive_until(b"\r\n")).startswith(b"HTTP/1.1 ")
        self.answers += 1

    def restart(self) -> None:
        """Measure from now on: what the attackers themselves hold by now is theirs."""
        gc.collect()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]

    @property
    def growth(self) -> int:
        """Most bytes that were allocated at a time since the beginning of the measurement."""
        return tracemalloc.get_traced_memory()[1] - self._before


def answering(handler: WebSocketHandler[Any]) -> WebSocketHandler[Any]:
    """Let a handler answer the bystander's question too."""
    given = handler.message

    def message(ws: Socket, message: str | bytes) -> object:
        if message == QUESTION:
            ws.send(ANSWER)
            return None
        return None if given is None else given(ws, message)

    return handler.on_message(message)


@asynccontextmanager
async def under_attack(
    name: str,
    handler: WebSocketHandler[Any] | None = None,
    fetch: Callable[..., Any] = fetch_or_upgrade,
    *,
    at_most: int,
    link: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.lockstep_stream_pair,
    connect: Callable[[Server[Any]], Connect] | None = None,
    **options: Any,
) -> AsyncGenerator[Attack]:
    """Serve, in memory unless `connect` says otherwise; fail if the attack takes `at_most` bytes or more.

    By default each write waits until it has been read, so that nothing piles up on the way.
    """
    listener = MemoryListener(link)

    async def connect_in_memory() -> RawPeer:
        return RawPeer(await listener.connect())

    if connect is None:
        options["listeners"] = [listener]
    tracemalloc.start()
    try:
        async with open_server(fetch, answering(handler or WebSocketHandler()), **options) as server:
            way = connect_in_memory if connect is None else connect(server)
            bystander = await way()
            await bystander.upgrade()
            attack = Attack(server, way, bystander)
            await attack.others_are_answered()
            attack.restart()
            yield attack
            growth = attack.growth
            await attack.others_are_answered()
            logger.info("%s: %.0f KiB, others answered %d times", name, growth / KIB, attack.answers)
            assert growth < at_most, f"{growth} bytes"
            await trio.aclose_forcefully(bystander.stream)
    finally:
        tracemalloc.stop()
