"""Connected sockets one after the other: when the next attempt comes, what ends the loop, and what is left behind."""

from __future__ import annotations

import gc
import logging
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from certificates import certified

from trio_bunws import (
    ConnectionClosed,
    HandshakeError,
    Headers,
    ReadyState,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocket,
    WebSocketHandler,
    open_server,
    reconnecting,
)
from trio_bunws._reconnect import Reconnecting, _abandon, is_final
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

URL = "ws://server.test/"


class Place:
    """A server in memory that can be away, refuse, or hang up at once."""

    def __init__(self) -> None:
        self.listener = MemoryListener()
        self.attempts: list[float] = []
        """When somebody tried to connect."""
        self.away = 0
        """So many attempts fail."""
        self.status = 101
        """With what the server answers."""
        self.closes: list[int] = []
        self.sockets: list[ServerWebSocket[None]] = []

    async def connect(self) -> trio.abc.Stream:
        self.attempts.append(trio.current_time())
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("nobody is there")
        return await self.listener.connect()

    def fetch(self, request: Request, server: Server[None]) -> Response | None:
        if self.status != 101:
            return Response("no", self.status)
        return None if server.upgrade(request) else Response("bad", 400)

    def closed(self, ws: ServerWebSocket[None], code: int, reason: str) -> None:  # noqa: ARG002
        self.closes.append(code)

    @property
    def pauses(self) -> list[float]:
        """The times between attempts."""
        return [round(b - a, 6) for a, b in zip(self.attempts, self.attempts[1:], strict=False)]

    def sockets_of_client(self, **options: Any) -> Reconnecting:
        return reconnecting(URL, connect=self.connect, ping_interval=0, **options)


@pytest.fixture(name="place")
async def served_place() -> AsyncIterator[Place]:
    place = Place()
    handler: WebSocketHandler[None] = WebSocketHandler(
        open=place.sockets.append, message=lambda ws, message: ws.send(message), close=place.closed, idle_timeout=0
    )
    async with open_server(place.fetch, handler, listeners=[place.listener]):
        yield place


@pytest.fixture(name="halves")
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses be the longest that they may be."""
    monkeypatch.setattr("trio_bunws._reconnect.random", lambda: 1.0)


async def echoed(ws: WebSocket, text: str) -> str | bytes:
    ws.send(text)
    return await ws.receive()


async def test_each_step_gives_an_open_socket_and_closes_the_one_before(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    seen: list[WebSocket] = []
    async for ws in place.sockets_of_client():
        assert [before.ready_state for before in seen] == [ReadyState.CLOSED] * len(seen)
        assert ws.ready_state is ReadyState.OPEN
        assert await echoed(ws, f"{len(seen)}") == f"{len(seen)}"
        seen.append(ws)
        if len(seen) == 3:
            break
    assert len({id(ws) for ws in seen}) == 3
    assert place.closes[:2] == [1005, 1005]


async def test_the_loop_goes_on_when_a_connection_is_lost(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    count = 0
    async for ws in place.sockets_of_client():
        count += 1
        if count == 3:
            break
        place.sockets[-1].terminate()
        with pytest.raises(ConnectionClosed):
            await ws.receive()


@pytest.mark.usefixtures("halves")
async def test_pauses_double_up_to_the_longest(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    place.away = 7
    async for _ in place.sockets_of_client(initial_delay=1, max_delay=20):
        break
    assert place.pauses == [1, 2, 4, 8, 16, 20, 20]


async def test_pauses_are_between_half_and_all_of_that(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    place.away = 40
    async for _ in place.sockets_of_client(initial_delay=8, max_delay=8):
        break
    assert len(place.pauses) == 40
    assert all(4 <= pause <= 8 for pause in place.pauses)
    assert len(set(place.pauses)) > 20


@pytest.mark.usefixtures("halves")
async def test_a_connection_that_lasted_lets_the_pauses_begin_anew_and_a_short_one_does_not(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    lasting = iter([10, 10, 10, 40, 10])
    async for _ in place.sockets_of_client(initial_delay=1, stable_after=30):
        seconds = next(lasting, None)
        if seconds is None:
            break
        await trio.sleep(seconds)
        place.sockets[-1].terminate()
        await trio.testing.wait_all_tasks_blocked()
    assert place.pauses == [11, 12, 14, 41, 12]


@pytest.mark.parametrize("status", [401, 403, 404, 400, 407, 410, 301, 308])
async def test_what_cannot_heal_is_raised_with_the_reason(place: Place, status: int) -> None:
    place.status = status
    with pytest.raises(HandshakeError) as caught:
        await place.sockets_of_client().__anext__()
    assert (caught.value.status, len(place.attempts)) == (status, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429, 302, 200])
async def test_what_may_heal_is_tried_again(
    place: Place,
    status: int,
    autojump_clock: MockClock,  # noqa: ARG001
    caplog: pytest.LogCaptureFixture,
) -> None:
    place.status = status

    async def heal() -> None:
        await trio.sleep(10)
        place.status = 101

    with caplog.at_level(logging.INFO, "trio_bunws.reconnect"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            async for ws in place.sockets_of_client():
                assert await echoed(ws, "x") == "x"
                break
    assert len(place.attempts) > 2
    assert "attempt 1 to connect failed: HandshakeError: HTTP status " in caplog.text
    assert [(vars(record)["attempt"], vars(record)["status"]) for record in caplog.records[:2]] == [
        (1, status),
        (2, status),
    ]


def test_a_101_that_is_no_answer_to_our_request_cannot_heal() -> None:
    assert is_final(HandshakeError(101, Headers(), b"", reason="its Upgrade is not websocket"))
    assert not is_final(OSError("gone"))
    assert not is_final(trio.TooSlowError())


async def test_a_certificate_for_another_name_cannot_heal() -> None:
    context, trusting = certified("elsewhere.test")
    async with open_server(None, WebSocketHandler(), port=0, tls=context) as server:
        with pytest.raises(trio.BrokenResourceError, match=r"mismatch.*127\.0\.0\.1") as caught:
            await reconnecting(f"wss://127.0.0.1:{server.port}/", tls=trusting).__anext__()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_server_that_does_not_answer_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    streams: list[trio.abc.Stream] = []

    async def connect() -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(theirs)
        await trio.lowlevel.checkpoint()
        return ours

    with trio.move_on_after(20) as scope:
        async for _ in reconnecting(URL, connect=connect, open_timeout=3):
            raise AssertionError("it is not open")
    assert scope.cancelled_caught
    assert autojump_clock.current_time() >= 20
    assert 3 <= len(streams) <= 7


# Leaving


async def gone(place: Place) -> list[int]:
    """Wait for what the server makes of a client that left."""
    await trio.testing.wait_all_tasks_blocked()
    return place.closes


async def test_a_loop_that_is_left_abandons_its_socket(place: Place) -> None:
    seen: list[WebSocket] = []
    async for ws in place.sockets_of_client():
        assert await echoed(ws, "x") == "x"
        seen.append(ws)
        break
    gc.collect()  # of other Pythons
    assert await gone(place) == [1001]
    assert seen[0].ready_state is ReadyState.CLOSED


async def test_an_exception_leaves_it_too(place: Place) -> None:
    async def use() -> None:
        async for _ in place.sockets_of_client():
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await use()
    gc.collect()
    assert await gone(place) == [1001]


async def test_a_cancellation_leaves_it_too(place: Place) -> None:
    async def use() -> None:
        async for _ in place.sockets_of_client():
            scope.cancel()
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        await use()
    gc.collect()
    assert await gone(place) == [1001]


async def test_a_cancelled_opening_ends_its_task() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def connect() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconnecting(URL, connect=connect).__anext__)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")


async def test_a_block_around_the_loop_closes_in_good_order(place: Place) -> None:
    async with place.sockets_of_client() as sockets:
        ws = await sockets.__anext__()
        assert await echoed(ws, "x") == "x"
        assert ws.ready_state.name == "OPEN"
    assert ws.ready_state.name == "CLOSED"
    assert await gone(place) == [1005]
    await sockets.aclose()


async def test_cancelling_the_wait_for_a_close_abandons(autojump_clock: MockClock) -> None:
    listener = MemoryListener()

    async def hold(ws: ServerWebSocket[None]) -> None:
        ws.pause()
        await trio.sleep_forever()

    handler: WebSocketHandler[None] = WebSocketHandler(open=hold, idle_timeout=0)
    async with open_server(None, handler, listeners=[listener]):
        sockets = reconnecting(URL, connect=listener.connect, ping_interval=0)
        ws = await sockets.__anext__()
        began = autojump_clock.current_time()
        with trio.move_on_after(1):
            await sockets.aclose()
        assert autojump_clock.current_time() - began == pytest.approx(1)
        await ws.closed()
        assert autojump_clock.current_time() - began == pytest.approx(1)


async def test_a_listener_s_exception_comes_out_of_the_next_step(place: Place) -> None:
    def fail(event: object) -> None:  # noqa: ARG001
        raise KeyError("mine")

    sockets = place.sockets_of_client()
    ws = await sockets.__anext__()
    ws.add_event_listener("pong", fail)
    ws.ping()
    await ws.closed()
    with pytest.raises(KeyError):
        await sockets.__anext__()
    assert await gone(place) == [1011]


def test_a_socket_that_outlives_its_run_is_nobody_s() -> None:
    async def main() -> trio.lowlevel.TrioToken:  # `trio.run` wants it so
        return trio.lowlevel.current_trio_token()

    _abandon(trio.run(main), trio.CancelScope())


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"url": "http://h/"}, ValueError, "WebSocket expects url"),
        ({"protocols": "no token"}, ValueError, "WebSocket expects protocols"),
        ({"headers": {"X": "a\r\nb"}}, ValueError, "header"),
        ({"open_timeout": 0}, ValueError, "WebSocket expects open_timeout"),
        ({"initial_delay": 0}, ValueError, "reconnecting expects initial_delay"),
        ({"max_delay": "1"}, TypeError, "reconnecting expects max_delay"),
        ({"stable_after": -1}, ValueError, "reconnecting expects stable_after"),
        ({"connect": 1}, TypeError, "reconnecting expects connect"),
        ({"colour": 1}, TypeError, "colour"),
    ],
)
def test_a_mistake_is_told_at_once(options: dict[str, Any], error: type[Exception], complaint: str) -> None:
    arguments: dict[str, Any] = {"url": URL, **options}
    with pytest.raises(error, match=complaint):
        reconnecting(**arguments)


async def test_protocols_are_offered_each_time(
    place: Place,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    offered: list[str | None] = []

    def fetch(request: Request, server: Server[None]) -> Response | None:
        offered.append(request.headers.get("sec-websocket-protocol"))
        return place.fetch(request, server)

    listener = MemoryListener()
    async with open_server(fetch, WebSocketHandler(), listeners=[listener]):
        async for _ in reconnecting(URL, iter(["a", "b"]), connect=listener.connect):
            if len(offered) == 2:
                break
    assert offered == ["a, b", "a, b"]


async def test_by_default_it_connects_by_tcp() -> None:
    handler: WebSocketHandler[None] = WebSocketHandler(message=lambda ws, text: ws.send(text))
    async with (
        open_server(None, handler, port=0) as server,
        reconnecting(f"ws://127.0.0.1:{server.port}/") as sockets,
    ):
        assert await echoed(await sockets.__anext__(), "over TCP") == "over TCP"
