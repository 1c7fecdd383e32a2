"""The client, `WebSocket`, against our server in memory and against bytes written by hand: opening, use, leaving."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from by_hand import URL, ByHand, by_hand, opened
from certificates import certified

from trio_bunws import (
    CloseEvent,
    CloseInfo,
    ConnectionClosed,
    HandshakeError,
    MessageEvent,
    MessageSent,
    OpenEvent,
    ReadyState,
    RemoteProtocolError,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocket,
    WebSocketHandler,
    open_server,
)
from trio_bunws._close import CloseFrame
from trio_bunws.testing import Frame, MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from trio.testing import MockClock

    Fetch = Callable[[Request, Server[None]], Response | None]

Handler = WebSocketHandler[None]


def echo(ws: ServerWebSocket, message: str | bytes) -> None:
    ws.send(message)


class Place:
    """A server in memory, and clients for it."""

    def __init__(self, listener: MemoryListener) -> None:
        self.listener = listener
        self.sockets: list[ServerWebSocket[Any]] = []
        self.closes: list[tuple[int, str]] = []

    async def client(self, url: str = URL, *args: Any, **options: Any) -> WebSocket:
        return WebSocket(url, *args, stream=await self.listener.connect(), **options)


@asynccontextmanager
async def served(handler: Handler | None = None, fetch: Fetch | None = None) -> AsyncGenerator[Place]:
    place = Place(MemoryListener())
    handler = handler or WebSocketHandler(message=echo)

    def closed(ws: ServerWebSocket, code: int, reason: str) -> None:  # noqa: ARG001
        place.closes.append((code, reason))

    handler = handler.on_open(place.sockets.append).on_close(closed)
    async with open_server(fetch, handler, listeners=[place.listener]):
        yield place


# Opening


async def test_a_client_talks_to_our_server() -> None:
    async with served() as place:
        ws = await place.client()
        assert repr(ws) == "<WebSocket ws://server.test/ CONNECTING>"
        async with ws as entered:
            assert entered is ws
            assert ws.ready_state is ReadyState.OPEN
            assert ws.send("héllo") == MessageSent(6)
            assert ws.send(bytearray(b"\x00\x01")) == 2
            assert ws.send_text("text") == 4
            assert ws.send_binary(memoryview(b"x" * 70_000)) == 70_000
            assert await ws.send_wait("waited") in {6, -1}
            messages = [await ws.receive() for _ in range(5)]
            assert messages == ["héllo", b"\x00\x01", "text", b"x" * 70_000, "waited"]
        assert repr(ws) == "<WebSocket ws://server.test/ CLOSED>"
        await trio.testing.wait_all_tasks_blocked()
        assert place.closes == [(1005, "")]
        assert await ws.closed() == CloseInfo(1005, "", CloseFrame(1005, ""), CloseFrame(1005, ""))


async def test_the_request_says_what_was_asked_for() -> None:
    seen: list[Request] = []

    def fetch(request: Request, server: Server[None]) -> Response | None:
        seen.append(request)
        return None if server.upgrade(request, protocol="b") else Response("no", 400)

    async with served(fetch=fetch) as place:
        ws = await place.client("ws://me:pw@h:81/chat?x=1", ["a", "b"], headers={"X-Y": "z"})
        assert ws.protocol is None
        async with ws:
            assert ws.protocol == "b"
        assert ws.url == "ws://me:pw@h:81/chat?x=1"
    [request] = seen
    assert (request.path, request.query["x"], request.headers["host"]) == ("/chat", "1", "h:81")
    assert (request.headers["x-y"], request.headers["authorization"]) == ("z", "Basic bWU6cHc=")


async def test_over_tcp_and_tls() -> None:
    context, trusting = certified("localhost")
    handler: Handler = WebSocketHandler(message=echo)
    async with open_server(None, handler, hostname="localhost", port=0, tls=context) as server:
        async with WebSocket(f"wss://localhost:{server.port}/", tls=trusting) as ws:
            ws.send("over TLS")
            assert await ws.receive() == "over TLS"
        with pytest.raises(trio.BrokenResourceError):
            async with WebSocket(f"wss://localhost:{server.port}/"):
                pass
    async with open_server(None, handler, port=0) as server, WebSocket(f"ws://127.0.0.1:{server.port}/") as ws:
        ws.send("over TCP")
        assert await ws.receive() == "over TCP"


async def test_nobody_there_is_an_os_error() -> None:
    async with open_server(None, WebSocketHandler(), port=0) as server:
        url = f"ws://127.0.0.1:{server.port}/"
    ws = WebSocket(url)
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await ws.__aenter__()
    assert ws.ready_state is ReadyState.CLOSED


async def test_a_refusal_is_told_with_the_response() -> None:
    def fetch(request: Request, server: Server[None]) -> Response:  # noqa: ARG001
        return Response("members only", 403, {"X-Why": "rules"})

    async with served(fetch=fetch) as place:
        with pytest.raises(HandshakeError) as caught:
            await (await place.client()).__aenter__()
    assert (caught.value.status, caught.value.headers["x-why"], caught.value.body) == (403, "rules", b"members only")


async def test_an_end_without_an_answer_is_a_protocol_error() -> None:
    async with by_hand() as (ws, server):
        await server.peer.stream.aclose()
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await ws.__aenter__()


async def test_an_answer_that_does_not_come_is_too_slow(autojump_clock: MockClock) -> None:
    async with by_hand(open_timeout=3) as (ws, server):
        with pytest.raises(trio.TooSlowError):
            await ws.__aenter__()
        assert autojump_clock.current_time() == pytest.approx(3, abs=0.1)
        await server.peer.receive_until(b"\r\n\r\n")
        await server.peer.receive_eof()


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_closing_while_connecting_ends_the_opening(end: str) -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:

        async def enter() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.__aenter__()
            assert caught.value.code == 1006

        nursery.start_soon(enter)
        await server.peer.receive_until(b"\r\n\r\n")
        getattr(ws, end)()
        assert ws.ready_state is ReadyState.CLOSED


async def test_it_is_entered_once() -> None:
    async with opened() as (ws, _):
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        await ws.__aenter__()


async def test_before_it_is_open_only_reading_its_state_and_closing_work() -> None:
    async with by_hand() as (ws, _):
        for method in (ws.ping, ws.pong):
            with pytest.raises(RuntimeError, match="not open"):
                method()
        with pytest.raises(RuntimeError, match="not open"):
            ws.send("x")
        for wait in (ws.receive, ws.drained, ws.closed):
            with pytest.raises(RuntimeError, match="not open"):
                await wait()
        assert (ws.buffered_amount, ws.is_paused, ws.protocol, ws.latency) == (0, False, None, None)
        assert repr(ws) == "<WebSocket ws://server.test/ CONNECTING>"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": "http://h/"}, ValueError),
        ({"protocols": "no token"}, ValueError),
        ({"headers": {"X": "a\r\nb"}}, ValueError),
        ({"tls": True}, TypeError),
        ({"stream": "tcp"}, TypeError),
        ({"max_payload_length": 0}, ValueError),
        ({"backpressure_limit": -1}, ValueError),
        ({"max_inbox": 0}, ValueError),
        ({"max_fragments": 0}, ValueError),
        ({"proxy": "socks5://h:1"}, ValueError),
        ({"open_timeout": 0}, ValueError),
        ({"ping_interval": -1}, ValueError),
        ({"ping_timeout": math.nan}, ValueError),
        ({"close_timeout": math.inf}, ValueError),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    arguments: dict[str, Any] = {"url": URL, **options}
    with pytest.raises(error, match=r"WebSocket expects|header"):
        WebSocket(**arguments)


# Receiving


async def test_frames_behind_the_101_are_received() -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        frames = RawPeer.frame(1, b"first", mask=None) + RawPeer.frame(8, b"\x03\xe8", mask=None)
        nursery.start_soon(lambda: server.answer(rest=frames))
        async with ws:
            assert [message async for message in ws] == ["first"]


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_iteration_ends_quietly_when_the_server_is_done(code: int | None) -> None:
    async with opened() as (ws, server):
        await server.send(1, b"last")
        await server.send(8, b"" if code is None else code.to_bytes(2))
        assert [message async for message in ws] == ["last"]
        with pytest.raises(ConnectionClosed) as caught:
            await ws.receive()
        assert caught.value.code == (code or 1005)
        assert await server.frame() == Frame(8, b"" if code is None else code.to_bytes(2))


async def test_iteration_raises_at_another_end() -> None:
    async with opened() as (ws, server):
        await server.send(8, b"\x03\xf3no")
        with pytest.raises(ConnectionClosed) as caught:
            async for _ in ws:
                pass
        assert (caught.value.code, caught.value.reason) == (1011, "no")


async def test_a_lost_connection_is_1006() -> None:
    async with opened() as (ws, server):
        await server.peer.stream.aclose()
        assert (await ws.closed()).code == 1006
        with pytest.raises(ConnectionClosed):
            await ws.receive()


async def test_a_server_that_masks_or_sends_too_much_is_told() -> None:
    for data, code in ((RawPeer.frame(1, b"x"), 1002), (RawPeer.frame(1, b"x" * 5, mask=None), 1009)):
        async with opened(max_payload_length=4) as (ws, server):
            await server.peer.send(data)
            assert (await ws.closed()).code == code
            assert (await server.frame()).close[0] == code


async def test_pings_are_answered_and_sent() -> None:
    async with opened() as (ws, server):
        await server.send(9, b"are you there")
        assert await server.frame() == Frame(10, b"are you there")
        assert ws.ping("p") == 1
        assert ws.pong(b"q") == 1
        assert [await server.frame(), await server.frame()] == [Frame(9, b"p"), Frame(10, b"q")]


async def test_a_full_inbox_and_a_pause_stop_reading() -> None:
    async with opened(max_inbox=2) as (ws, server):
        for number in range(5):
            await server.send(1, b"%d" % number)
        await server.send(9, b"later")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await server.frame()
        assert scope.cancelled_caught
        assert [await ws.receive() for _ in range(5)] == list("01234")
        assert await server.frame() == Frame(10, b"later")
        ws.pause()
        assert ws.is_paused
        await server.send(1, b"paused")
        await trio.testing.wait_all_tasks_blocked()
        assert ws._opened.statistics().messages_in == 5
        ws.resume()
        assert await ws.receive() == "paused"


@pytest.mark.parametrize(("name", "kind"), [("arraybuffer", memoryview), ("bytearray", bytearray), ("bytes", bytes)])
async def test_binary_messages_are_what_was_asked_for(name: str, kind: type) -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        ws.binary_type = name
        with pytest.raises(ValueError, match="binary_type expects"):
            ws.binary_type = "blob"
        nursery.start_soon(server.answer)
        async with ws:
            await server.send(2, b"x")
            message = await ws.receive()
            assert type(message) is kind
            assert message == b"x"
            ws.binary_type = "bytes"
            await server.send(2, b"y")
            assert type(await ws.receive()) is bytes
            assert ws.binary_type == "bytes"
            nursery.start_soon(server.send, 8)


# Sending


async def test_each_frame_has_a_mask_of_its_own() -> None:
    async with opened() as (ws, server):
        for _ in range(8):
            ws.send("same")
        await ws.drained()
        data = await server.peer.receive_exactly(8 * 10)
        assert len({data[at + 2 : at + 6] for at in range(0, 80, 10)}) == 8


async def test_what_the_server_does_not_read_is_backpressure() -> None:
    ours, servers = trio.testing.lockstep_stream_pair()
    server = ByHand(servers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        async with WebSocket(URL, stream=ours, backpressure_limit=10) as ws:
            ws.send("in flight")
            await trio.testing.wait_all_tasks_blocked()
            assert ws.send("unsent") == -1
            assert ws.buffered_amount == 12
            assert ws.send("dropped") == 0
            for text in (b"in flight", b"unsent"):
                assert await server.frame() == Frame(1, text)
            await ws.drained()
            assert ws.buffered_amount == 0
            ws.terminate()


# The end


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [((), b""), ((1000,), b"\x03\xe8"), ((4000, "bye"), b"\x0f\xa0bye"), ((None, "bye"), b"\x03\xe8bye")],
)
async def test_close_sends_what_it_was_given(arguments: tuple[Any, ...], payload: bytes) -> None:
    async with opened() as (ws, server):
        ws.close(*arguments)
        ws.close(4999, "ignored")
        assert ws.ready_state is ReadyState.CLOSING
        assert ws.send("too late") == 0
        assert await server.frame() == Frame(8, payload)
        await server.send(8, payload)
        info = await ws.closed()
        assert info.sent == info.received == CloseFrame(*Frame(8, payload).close)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((1006,), ValueError), ((999,), ValueError), (("1000",), TypeError), ((1000, "ü" * 62), ValueError)],
)
async def test_a_bad_close_raises_in_every_state(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    async with by_hand() as (ws, _):
        with pytest.raises(error, match="close expects"):
            ws.close(*arguments)
        assert ws.ready_state is ReadyState.CONNECTING
    async with opened() as (ws, _):
        with pytest.raises(error, match="close expects"):
            ws.close(*arguments)
        assert ws.ready_state is ReadyState.OPEN
    with pytest.raises(error, match="close expects"):
        ws.close(*arguments)


async def test_terminate_ends_it_at_once() -> None:
    async with opened() as (ws, server):
        ws.terminate()
        assert await ws.closed() == CloseInfo(1006, "", None, None)
        await server.peer.receive_eof()


async def test_leaving_waits_for_the_server_s_close_and_then_gives_up(autojump_clock: MockClock) -> None:
    async with by_hand(close_timeout=3) as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        async with ws:
            began = autojump_clock.current_time()
        assert autojump_clock.current_time() - began == pytest.approx(3)
        assert await ws.closed() == CloseInfo(1005, "", CloseFrame(1005, ""), None)
        assert await server.frame() == Frame(8, b"")


async def leave_by(exc: BaseException, ws: WebSocket) -> None:
    async with ws:
        raise exc


@pytest.mark.parametrize("exc", [KeyError("mine"), ExceptionGroup("mine", [KeyError("one"), KeyError("two")])])
async def test_an_exception_closes_with_1011_and_comes_out_as_it_is(exc: Exception) -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer_and_close)
        with pytest.raises(type(exc)) as caught:
            await leave_by(exc, ws)
        # trio copies a group on its way out, but not what is in it.
        assert caught.value is exc or getattr(caught.value, "exceptions", ()) == getattr(exc, "exceptions", None)
        assert server.closed_with == (1011, "Internal error")


async def test_an_interrupt_offers_1001_without_waiting() -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        with pytest.raises(KeyboardInterrupt):
            await leave_by(KeyboardInterrupt(), ws)
        assert (await server.frame()).close[0] == 1001
        await server.peer.receive_eof()


@pytest.mark.parametrize("make", [trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair])
async def test_cancellation_offers_1001_without_waiting(
    make: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]], autojump_clock: MockClock
) -> None:
    ours, servers = make()
    server = ByHand(servers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        ws = WebSocket(URL, stream=ours)
        began = autojump_clock.current_time()
        with trio.CancelScope() as scope:
            async with ws:
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == began
        assert (await ws.closed()).sent == CloseFrame(1001, "Going away")
        if make is trio.testing.memory_stream_pair:
            assert (await server.frame()).close == (1001, "Going away")


async def test_cancelling_the_wait_for_the_close_aborts(autojump_clock: MockClock) -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        began = autojump_clock.current_time()
        with trio.move_on_after(1) as scope:
            async with ws:
                pass
        assert scope.cancelled_caught
        assert autojump_clock.current_time() - began == pytest.approx(1)
        assert ws.ready_state is ReadyState.CLOSED


# Events


async def test_listeners_are_told_of_everything_in_order() -> None:
    async with served(WebSocketHandler(message=echo)) as place:
        ws = await place.client()
        told: list[Any] = []
        for name in ("open", "message", "ping", "pong", "close", "error"):
            ws.add_event_listener(name, told.append)
        async with ws:
            assert told == [OpenEvent(ws)]
            ws.send("hello")
            ws.send(b"x")
            ws.ping("p")
            await trio.testing.wait_all_tasks_blocked()
            place.sockets[0].ping("q")
            await trio.testing.wait_all_tasks_blocked()
            place.sockets[0].close(4000, "bye")
            await ws.closed()
        assert told == [
            OpenEvent(ws),
            MessageEvent(ws, "hello"),
            MessageEvent(ws, b"x"),
            MessageEvent(ws, b"p", "pong"),
            MessageEvent(ws, b"q", "ping"),
            CloseEvent(ws, 4000, "bye", was_clean=True),
        ]
        assert ws.latency is not None


async def test_with_a_message_listener_receive_and_iteration_are_mistakes_until_it_is_removed() -> None:
    async with served() as place:
        ws = await place.client()
        told: list[MessageEvent] = []
        closes: list[CloseEvent] = []
        ws.add_event_listener("message", told.append)
        ws.add_event_listener("message", told.append)
        with pytest.raises(RuntimeError, match="go to the message listener"):
            await ws.receive()
        async with ws:
            for wait in (ws.receive, ws.__anext__):
                with pytest.raises(RuntimeError, match="go to the message listener"):
                    await wait()
            ws.send("one")
            await trio.testing.wait_all_tasks_blocked()
            assert [event.data for event in told] == ["one"]
            ws.remove_event_listener("message", told.append)
            ws.send("two")
            assert await ws.receive() == "two"
            with pytest.raises(RuntimeError, match="before the block is entered"):
                ws.add_event_listener("message", told.append)
            ws.add_event_listener("close", closes.append)
        assert len(told) == 1
        assert len(closes) == 1


async def test_a_listener_may_be_added_to_others_and_sends_at_once() -> None:
    async with served() as place:
        ws = await place.client()
        heard: list[str | bytes] = []

        def answer(event: MessageEvent) -> None:
            if event.data == "one":
                event.target.send("two")

        ws.add_event_listener("open", lambda event: event.target.send("one"))
        ws.add_event_listener("message", answer)
        async with ws:
            ws.add_event_listener("message", lambda event: heard.append(event.data))
            await trio.testing.wait_all_tasks_blocked()
            assert heard == ["one", "two"]


# Around being open


async def test_a_pause_before_opening_holds_from_the_beginning() -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        assert ws.pause()
        assert ws.is_paused
        nursery.start_soon(lambda: server.answer(rest=RawPeer.frame(1, b"x", mask=None)))
        async with ws:
            assert ws.is_paused
            await trio.testing.wait_all_tasks_blocked()
            assert ws._opened.statistics().messages_in == 0
            assert ws.resume()
            assert await ws.receive() == "x"
            nursery.start_soon(server.send, 8)
        assert not ws.pause()
        assert not ws.resume()


async def test_a_socket_that_never_opened_is_a_closed_one() -> None:
    async with by_hand() as (ws, _):
        ws.close()
        assert ws.ready_state is ReadyState.CLOSED
        assert (ws.send("x"), ws.buffered_amount, ws.protocol, ws.extensions) == (0, 0, None, "")
        assert (await ws.closed()).code == 1006
        with pytest.raises(ConnectionClosed):
            await ws.receive()
        with pytest.raises(ConnectionClosed):
            await ws.__aenter__()


async def test_a_redirect_is_not_followed_but_told() -> None:
    async with served(fetch=lambda *_: Response.redirect("ws://elsewhere.test/", 307)) as place:
        with pytest.raises(HandshakeError, match=r"307, a redirect to ws://elsewhere\.test/, which is not") as caught:
            await (await place.client()).__aenter__()
    assert (caught.value.status, caught.value.headers["location"]) == (307, "ws://elsewhere.test/")


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    requests: list[Request] = []

    def fetch(request: Request, server: Server[None]) -> Response | None:
        requests.append(request)
        return None if server.upgrade(request) else Response("no", 400)

    async with open_server(fetch, WebSocketHandler(message=echo), unix=str(path)):
        async with WebSocket(f"ws+unix://{path}:/chat?x=1") as ws:
            ws.send("over a file")
            assert await ws.receive() == "over a file"
        with pytest.raises(OSError, match="missing"):
            await WebSocket(f"ws+unix://{tmp_path}/missing.sock").__aenter__()
    assert [(r.path, r.query["x"], r.headers["host"]) for r in requests] == [("/chat", "1", "localhost")]
