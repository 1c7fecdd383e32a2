"""BEHAVIOUR.md, 3, 16, 17, 20, 28 and 30: cancelled at every checkpoint, nothing is left behind and nothing sent twice.

A scripted conversation of several clients (handshake, messages, publishes, pings, close) is run again and again by
`cancelling.py`, which cancels `serve`, one connection, a handler or one call of it, a scheduling step later each time.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from cancelling import Steps, cancel_at_every_step
from certificates import certified
from faults import count_descriptors
from links import kernel, lockstep, memory

from trio_bunws import Server, WebSocketHandler, open_server
from trio_bunws._session import Session
from trio_bunws._stream_transport import take_over
from trio_bunws.testing import Frame, MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from links import Pair
    from playground import Socket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LOST = (trio.BrokenResourceError, trio.ClosedResourceError, EOFError)
LINKS: dict[str, Callable[[], Pair]] = {"memory": memory, "lockstep": lockstep, "kernel": kernel}
WORLDS = [("plain", "kernel"), ("async", "kernel"), ("async", "memory"), ("session", "lockstep")]
"""Kinds of handlers, each with links on which different steps are taken; all nine pairs would only take longer."""
BULK = "x" * 40_000
"""More than a `kernel` or `lockstep` link takes while nobody reads."""


class Application:
    """Handlers of one kind that echo, publish, wait and close; it counts what of them begins and ends."""

    def __init__(self) -> None:
        self.opened: list[Socket] = []
        self.closed: Counter[Socket] = Counter()
        self.running = 0

    def handler(self, kind: str) -> WebSocketHandler[Any]:
        """Return the handlers: `plain`, `async` or `session`."""
        if kind == "plain":
            return WebSocketHandler(
                open=self._open, message=self._message, drain=self._drain, ping=self._ping, close=self._close
            )
        if kind == "async":
            return WebSocketHandler(
                open=self._open_async,
                message=self._message_async,
                drain=self._drain_async,
                ping=self._ping_async,
                close=self._close_async,
            )
        return WebSocketHandler(open=self._open, session=self._session, close=self._close_async)

    def _open(self, ws: Socket) -> None:
        self.opened.append(ws)
        ws.subscribe("room")
        ws.send("hello")

    def _message(self, ws: Socket, message: str | bytes) -> None:
        if message == "publish":
            ws.publish("room", "published")
            ws.publish("room", "published too")
        else:
            ws.send(message)

    def _drain(self, ws: Socket) -> None:
        assert ws.ready_state == 1

    def _ping(self, ws: Socket, data: bytes) -> None:
        assert data == b"ping"
        ws.publish("room", "pinged")

    def _close(self, ws: Socket, code: int, reason: str) -> None:
        assert ws.subscriptions == []
        assert (code, reason) in {(1000, "done"), (1001, "Server closed"), (1006, "")}
        self.closed[ws] += 1
        ws.publish("room", "gone")

    async def _open_async(self, ws: Socket) -> None:
        with self._counted():
            self._open(ws)
            await ws.drained()

    async def _message_async(self, ws: Socket, message: str | bytes) -> None:
        with self._counted():
            await trio.lowlevel.checkpoint()
            if message == "publish":
                self._message(ws, message)
                await trio.sleep(1)
            else:
                await ws.send_wait(message)
                await ws.drained()

    async def _drain_async(self, ws: Socket) -> None:
        with self._counted():
            await ws.drained()

    async def _ping_async(self, ws: Socket, data: bytes) -> None:
        with self._counted():
            await trio.sleep(1)
            self._ping(ws, data)

    async def _close_async(self, ws: Socket, code: int, reason: str) -> None:
        with self._counted():
            self._close(ws, code, reason)
            await trio.lowlevel.checkpoint()

    async def _session(self, ws: Socket) -> None:
        with self._counted():
            ws.start_soon(self._forever)
            await ws.start(self._started)
            async for message in ws:
                await self._message_async(ws, message)

    async def _forever(self) -> None:
        with self._counted():
            await trio.sleep_forever()

    async def _started(self, task_status: trio.TaskStatus[None]) -> None:
        with self._counted():
            await trio.lowlevel.checkpoint()
            task_status.started()
            await trio.sleep_forever()

    @contextmanager
    def _counted(self) -> Generator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def check(self, server: Server[Any]) -> None:
        """Nothing is left of what ran, and each socket that was opened was closed once."""
        assert self.running == 0
        assert self.closed == Counter(self.opened)
        counts = server.statistics()
        assert (counts.websockets, counts.topics, counts.backpressured_sockets) == (0, 0, 0)
        assert (server.pending_websockets, server.pending_requests, server.topics()) == (0, 0, ())
        assert all(ws.ready_state == 3 and ws.get_buffered_amount() == 0 for ws in self.opened)


class Client:
    """A client that plays its part of the conversation as long as it can, and keeps all that it is told."""

    MESSAGES = ("with the request", "one", "fragmented", BULK, "last")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._peer = RawPeer(stream)
        self.upgraded = False
        self.frames: list[Frame] = []
        self.rest = b""
        """What is left of a frame that was cut off."""
        self._answered = trio.Event()

    async def talk(self) -> None:
        """Send everything, then read to the end."""
        peer, frame = self._peer, RawPeer.frame
        async with peer, trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            try:
                await peer.send(peer.request() + frame(TEXT, b"with the request"))
                await peer.send(frame(TEXT, b"one") + frame(PING, b"ping") + frame(TEXT, b"publish"))
                await peer.send(frame(TEXT, b"frag", fin=False) + frame(PING, b"ping"))
                await peer.send(frame(0, b"mented") + frame(TEXT, BULK.encode()))
                await peer.send(frame(TEXT, b"last"))
                await self._answered.wait()
                await peer.send(peer.close_frame(1000, "done"))
            except LOST:
                pass

    async def _listen(self, scope: trio.CancelScope) -> None:
        peer = self._peer
        try:
            await peer.receive_101()
            self.upgraded = True
            while True:
                self.frames.append(await peer.receive())
                if self.frames[-1].payload == b"last":
                    self._answered.set()
        except LOST:
            self.rest = bytes(peer.received)
            scope.cancel()

    def check(self) -> None:
        """Whatever came is in order, once, and whole up to where it was cut off."""
        texts = [frame.payload.decode() for frame in self.frames if frame.opcode == TEXT]
        own = [text for text in texts if text in self.MESSAGES]
        assert own == list(self.MESSAGES[: len(own)])
        assert texts[:1] in ([], ["hello"])
        assert texts.count("hello") <= 1
        assert [frame.payload for frame in self.frames if frame.opcode == PONG] in ([], [b"ping"], [b"ping"] * 2)
        assert {frame.opcode for frame in self.frames[:-1]} <= {TEXT, PONG}
        assert all(frame.fin and not frame.rsv for frame in self.frames)

    @property
    def told(self) -> tuple[int, str] | None:
        """The Close frame that ended it."""
        return self.frames[-1].close if self.frames and self.frames[-1].opcode == CLOSE else None


def nothing_is_left(application: Application, servers: list[Server[Any]], clients: list[Client]) -> None:
    """Check what must hold after the end of servers: all was closed, and no frame was cut off."""
    for server in servers:
        application.check(server)
        assert server.statistics().connections == 0
    for client in clients:
        client.check()
        assert client.rest == b""


async def talk(listener: MemoryListener, clients: list[Client]) -> None:
    """Have a conversation, if the server still listens."""
    try:
        client = Client(await listener.connect())
    except trio.BrokenResourceError:
        return
    clients.append(client)
    await client.talk()


@pytest.mark.parametrize(("kind", "link"), WORLDS)
def test_30_serve_cancelled_at_any_step_closes_every_socket_in_order(kind: str, link: str) -> None:
    async def story(steps: Steps) -> None:
        application = Application()
        listener = MemoryListener(LINKS[link])
        clients: list[Client] = []
        servers: list[Server[Any]] = []

        async def served(conversations: trio.Nursery) -> None:
            with steps.begin():
                async with open_server(None, application.handler(kind), listeners=[listener]) as server:
                    servers.append(server)
                    conversations.start_soon(talk, listener, clients)
                    conversations.start_soon(talk, listener, clients)
                    await trio.sleep(30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(served, nursery)
        nothing_is_left(application, servers, clients)
        told = [client.told for client in clients if client.upgraded]
        assert set(told) <= {(1000, "done"), (1001, "Server closed")}
        assert len(told) == len(application.opened)

    before = count_descriptors()
    assert cancel_at_every_step(story) > 50
    assert count_descriptors() == before


@pytest.mark.parametrize(("kind", "link"), WORLDS)
def test_20_a_connection_cancelled_at_any_step_ends_whole_and_nobody_else_notices(kind: str, link: str) -> None:
    async def story(steps: Steps) -> None:
        application = Application()
        ours, servers = LINKS[link]()
        listener = MemoryListener()
        client = Client(ours)
        async with (
            open_server(None, application.handler(kind), listeners=[listener]) as server,
            RawPeer(await listener.connect()) as bystander,
        ):
            await bystander.upgrade()
            assert await bystander.receive_text() == "hello"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.talk)
                with steps.begin():
                    await Session(take_over(servers), server).run()
            client.check()
            assert application.closed == Counter(application.opened[1:])
            assert server.pending_websockets == len(server.subscribers("room")) == 1
            await bystander.send_text("still here")
            while await bystander.receive_text() != "still here":
                pass
        application.check(server)

    before = count_descriptors()
    assert cancel_at_every_step(story) > 30
    assert count_descriptors() == before


def test_30_over_tls_serve_cancelled_at_any_step_closes_every_socket_in_order() -> None:
    tls = certified("localhost")

    async def story(steps: Steps) -> None:
        application = Application()
        listener = MemoryListener()
        clients: list[Client] = []
        servers: list[Server[Any]] = []

        async def secure() -> None:
            try:
                stream = await listener.connect()
            except trio.BrokenResourceError:
                return
            secured = trio.SSLStream(stream, tls.client, server_hostname="localhost", https_compatible=True)
            try:
                await secured.do_handshake()
            except trio.BrokenResourceError:
                await trio.aclose_forcefully(stream)
                return
            clients.append(Client(secured))
            await clients[-1].talk()

        async def served(conversations: trio.Nursery) -> None:
            with steps.begin():
                async with open_server(
                    None, application.handler("async"), listeners=[listener], tls=tls.server
                ) as server:
                    servers.append(server)
                    conversations.start_soon(secure)
                    await trio.sleep(30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(served, nursery)
        nothing_is_left(application, servers, clients)
        assert all((client.told is not None) == client.upgraded for client in clients)

    assert cancel_at_every_step(story) > 30
