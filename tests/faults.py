"""What must hold after any fault of a connection: handlers were told once, and nothing is left of it.

`Watch` makes the handlers and remembers the sockets; `gone` waits for the end and looks for what is left. That is for
`test_faults_*.py`; others count tasks and descriptors here.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio
from patience import until
from playground import Socket, settled

from trio_bunws import Limits, Request, Response, Server, WebSocketHandler, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from trio_bunws.testing import RawPeer

LIMITS = Limits(close_timeout=0.1)
"""Handlers that wait for ever are cancelled soon."""


def count_tasks() -> int:
    """Return how many tasks this run of trio has."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks = [root]
    for task in tasks:
        for nursery in task.child_nurseries:
            tasks += nursery.child_tasks
    return len(tasks)


def count_descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a list of names is all that is wanted


async def send_quietly(peer: RawPeer, data: bytes) -> None:
    """Send, even if the other end is gone already."""
    with suppress(trio.BrokenResourceError):
        await peer.send(data)


class Watch:
    """The sockets of one server, and what its handlers were told."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.closes: list[tuple[Socket, int, str]] = []
        self.messages: list[str | bytes] = []
        self.gate = trio.Event()
        """Lets messages to an `async` handler end."""
        self._tasks = 0
        self._descriptors = 0

    def open(self, ws: Socket) -> None:
        """Be in two topics, and have a task."""
        self.sockets.append(ws)
        ws.subscribe("one")
        ws.subscribe("other")
        ws.start_soon(trio.sleep_forever)

    def message(self, ws: Socket, message: str | bytes) -> None:
        """Answer in every way."""
        self.messages.append(message)
        ws.send(message)
        ws.publish("one", message)

    def close(self, ws: Socket, code: int, reason: str) -> None:
        assert ws.subscriptions == []
        self.closes.append((ws, code, reason))

    def handler(self, **given: Any) -> WebSocketHandler[Any]:
        """Return the handler, with these changes."""
        handlers: dict[str, Any] = {"open": self.open, "close": self.close}
        if "session" not in given:
            handlers["message"] = self.message
        return WebSocketHandler(**(handlers | given))

    async def fetch(self, request: Request, server: Server[Any]) -> Response | None:
        """Upgrade, read a body, or stream without end."""
        if server.upgrade(request):
            return None
        if request.path == "/stream":
            return Response(self._stream())
        if request.path == "/wait":
            await self.gate.wait()
        return Response(await request.body())

    async def _stream(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    @property
    def ws(self) -> Socket:
        """The socket that was opened last."""
        return self.sockets[-1]

    @asynccontextmanager
    async def serving(self, **given: Any) -> AsyncGenerator[Server[Any]]:
        """Serve these handlers over TCP, and remember what there is before the connections that follow."""
        async with open_server(self.fetch, self.handler(**given), port=0, limits=LIMITS) as server:
            await settled()
            self.begin()
            yield server

    def begin(self) -> None:
        """Remember what there is before the connections that follow."""
        self._tasks = count_tasks()
        self._descriptors = count_descriptors()

    async def gone(self, server: Server[Any]) -> None:
        """Wait until the server has no connection, and see that nothing else is left of them."""
        self.gate.set()
        await until(
            lambda: not (server.statistics().connections or server.pending_websockets or server.pending_requests)
        )
        await settled()
        assert sorted(id(ws) for ws, _, _ in self.closes) == sorted(map(id, self.sockets))  # once each
        assert server.topics() == ()
        for ws in self.sockets:
            assert ws.ready_state == 3
            assert ws.subscriptions == []
            assert ws.get_buffered_amount() == 0
            assert ws.send("x") == 0
        statistics = server.statistics()
        assert statistics.topics == statistics.backpressured_sockets == 0
        assert count_tasks() == self._tasks
        assert count_descriptors() == self._descriptors
        self.gate = trio.Event()
