"""BEHAVIOUR.md, 1, 5 and 6, sentence by sentence: what a send returns, what it refuses, and in which order all arrives.

Backpressure, pings and corks are in files of their own. A test's name begins with the number of its sentence; nothing
here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import pytest
import trio
from links import BATCH, BIG, drops, kernel, lockstep, memory, receive_big, served
from playground import Socket, settled
from trio_websocket import ConnectionClosed as ClientClosed

from trio_bunws import MessageDropped, MessageSent, ReadyState, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair
    from trio.testing import MockClock
    from typing_extensions import Buffer

TEXT, BINARY, PING, PONG = 1, 2, 9, 10


# 1: what a send returns

SENDS: list[tuple[Callable[[Socket], int], int, tuple[int, bytes]]] = [
    (lambda ws: ws.send("text"), 4, (TEXT, b"text")),
    (lambda ws: ws.send("zażółć"), 10, (TEXT, "zażółć".encode())),
    (lambda ws: ws.send(b"data"), 4, (BINARY, b"data")),
    (lambda ws: ws.send(bytearray(b"data")), 4, (BINARY, b"data")),
    (lambda ws: ws.send(memoryview(b"-data-")[1:5]), 4, (BINARY, b"data")),
    (lambda ws: ws.send(memoryview(b"d-a-t-a")[::2]), 4, (BINARY, b"data")),
    (lambda ws: ws.send(array("I", [1, 2, 3])), 12, (BINARY, array("I", [1, 2, 3]).tobytes())),
    (lambda ws: ws.send(b"\x00" * 125), 125, (BINARY, b"\x00" * 125)),
    (lambda ws: ws.send(b"\x00" * 126), 126, (BINARY, b"\x00" * 126)),
    (lambda ws: ws.send("é" * 40_000), 80_000, (TEXT, "é".encode() * 40_000)),
    (lambda ws: ws.send("text", False), 4, (TEXT, b"text")),
    (lambda ws: ws.send("text", compress=True), 4, (TEXT, b"text")),
    (lambda ws: ws.send_text("text", compress=True), 4, (TEXT, b"text")),
    (lambda ws: ws.send_binary(bytearray(b"data"), compress=True), 4, (BINARY, b"data")),
    (lambda ws: ws.ping(), 0, (PING, b"")),
    (lambda ws: ws.ping("é"), 2, (PING, "é".encode())),
    (lambda ws: ws.ping(bytearray(b"x" * 125)), 125, (PING, b"x" * 125)),
    (lambda ws: ws.pong(), 0, (PONG, b"")),
    (lambda ws: ws.pong(memoryview(b"data")), 4, (PONG, b"data")),
]


@pytest.mark.parametrize(("send", "value", "frame"), SENDS)
@pytest.mark.parametrize("link", [memory, kernel])
async def test_01_a_send_returns_the_payloads_length(
    autojump_clock: MockClock,
    link: Callable[[], Pair],
    send: Callable[[Socket], int],
    value: int,
    frame: tuple[int, bytes],
) -> None:
    statuses: list[int] = []

    def message(ws: Socket, _: str | bytes) -> None:
        statuses.append(send(ws))

    async with served(WebSocketHandler(message=message), link) as place:
        ws, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive() == (*frame, True, 0)
        await ws.drained()
        statuses.append(send(ws))
        assert await peer.receive() == (*frame, True, 0)
    if len(frame[1]) < BATCH or link is memory:
        assert statuses == [value, value]
        assert {type(status) for status in statuses} == {MessageSent}
    else:
        assert statuses == [-1, -1]  # see 2


async def test_01_an_empty_message_is_sent_and_equals_zero(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        empties: list[str | Buffer] = ["", b"", bytearray(), memoryview(b"")]
        for empty in empties:
            status = ws.send(empty)
            assert status == 0
            assert status == MessageSent(0)
            assert isinstance(status, MessageSent)
            assert not isinstance(status, MessageDropped)
            assert await peer.receive() == (TEXT if empty == "" else BINARY, b"", True, 0)
            await settled()


async def test_01_a_library_client_gets_what_was_sent(autojump_clock: MockClock) -> None:
    messages: list[str | bytes] = ["", "text", "zażółć 👩🏽‍🚀", b"", b"data", BIG[:300], "é" * 40_000, BIG]
    async with served() as place, place.library_client() as (ws, client):
        for message in messages:
            ws.send(message)
        assert [await client.get_message() for _ in messages] == messages


# 5: closed sockets and wrong arguments

NOTHING: list[Callable[[Socket], int]] = [
    lambda ws: ws.send("x"),
    lambda ws: ws.send(b"x", True),
    lambda ws: ws.send_text("x"),
    lambda ws: ws.send_binary(b"x"),
    lambda ws: ws.ping(),
    lambda ws: ws.pong("x"),
    lambda ws: ws.publish("news", "x"),
    lambda ws: ws.publish_text("news", "x"),
    lambda ws: ws.publish_binary("news", b"x"),
]


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes", "peer vanishes"])
async def test_05_on_a_closed_socket_every_send_returns_zero_and_nothing_raises(
    autojump_clock: MockClock, end: str
) -> None:
    statuses: list[object] = []

    def use(ws: Socket, *_: object) -> None:
        statuses.extend(send(ws) for send in NOTHING)
        statuses.append(ws.cork(lambda ws: ws.send("x")))
        ws.close()
        ws.terminate()

    async with served(WebSocketHandler(close=use)) as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        match end:
            case "close":
                ws.close()
                assert ws.ready_state is ReadyState.CLOSING
                statuses.extend(send(ws) for send in NOTHING)
                assert await peer.receive_close() == (1000, "")
                await peer.send_close(1000)
            case "terminate":
                ws.terminate()
                statuses.extend(send(ws) for send in NOTHING)
            case "peer closes":
                await peer.send_close(1000)
                assert await peer.receive_close() == (1000, "")
            case _:
                await peer.stream.aclose()
        await ws.closed()
        await settled()
        assert ws.ready_state is ReadyState.CLOSED
        use(ws)
        if end != "peer vanishes":
            await peer.receive_eof()
        assert drops(ws) == 0  # not dropped for the limit
    assert set(statuses) == {0}
    assert {type(status) for status in statuses} == {MessageDropped}


NEITHER = [None, 1, 1.5, True, [b"x"], {"a": 1}, object()]


@pytest.mark.parametrize("data", NEITHER, ids=["None", "int", "float", "bool", "list", "dict", "object"])
async def test_05_what_is_neither_str_nor_buffer_raises_type_error(
    autojump_clock: MockClock,
    data: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        for name in ["send", "send_text", "send_binary", "ping", "pong"]:
            with pytest.raises(TypeError, match=f"^{name} expects data to be a "):
                getattr(ws, name)(data)
        for name in ["publish", "publish_text", "publish_binary"]:
            with pytest.raises(TypeError, match=f"^{name} expects data to be a "):
                getattr(ws, name)("news", data)
        with pytest.raises(TypeError, match=r"^publish expects data to be a "):
            place.server.publish("news", data)
        with pytest.raises(TypeError, match=r"^send_wait expects data to be a "):
            await ws.send_wait(data)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("compress", [None, 0, 1, "yes", b""], ids=repr)
async def test_05_compress_must_be_a_bool(
    autojump_clock: MockClock,
    compress: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        calls: list[tuple[str, Callable[[], object]]] = [
            ("send", lambda: ws.send("x", compress)),
            ("send", lambda: ws.send(b"x", compress=compress)),
            ("send_text", lambda: ws.send_text("x", compress)),
            ("send_binary", lambda: ws.send_binary(b"x", compress)),
            ("publish", lambda: ws.publish("news", "x", compress)),
            ("publish_text", lambda: ws.publish_text("news", "x", compress)),
            ("publish_binary", lambda: ws.publish_binary("news", b"x", compress)),
            ("publish", lambda: place.server.publish("news", "x", compress)),
        ]
        for name, call in calls:
            with pytest.raises(TypeError, match=f"^{name} expects compress to be a boolean"):
                call()
        with pytest.raises(TypeError, match=r"^send_wait expects compress to be a boolean"):
            await ws.send_wait("x", compress)
        ws.send("end")
        assert await peer.receive_text() == "end"


async def test_05_text_and_binary_methods_take_only_their_kind(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        wrong: Any
        for wrong in [b"x", bytearray(b"x"), memoryview(b"x")]:
            with pytest.raises(TypeError, match=r"^send_text expects data to be a string"):
                ws.send_text(wrong)
            with pytest.raises(TypeError, match=r"^publish_text expects data to be a string"):
                ws.publish_text("news", wrong)
        wrong = "x"
        with pytest.raises(TypeError, match=r"^send_binary expects data to be a buffer"):
            ws.send_binary(wrong)
        with pytest.raises(TypeError, match=r"^publish_binary expects data to be a buffer"):
            ws.publish_binary("news", wrong)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("payload", [b"x" * 126, "é" * 63, bytearray(1000)], ids=["bytes", "str", "bytearray"])
async def test_05_a_ping_or_pong_over_125_bytes_raises_value_error_and_sends_nothing(
    autojump_clock: MockClock, payload: str | bytes
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        for name in ["ping", "pong"]:
            with pytest.raises(ValueError, match=f"^{name} expects data of at most 125 bytes, not 1"):
                getattr(ws, name)(payload)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("link", [memory, lockstep])
async def test_05_a_buffer_may_be_changed_after_the_call(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    sends: list[Callable[[Socket, bytearray], object]] = [
        lambda ws, data: ws.send(data),
        lambda ws, data: ws.send(memoryview(data)),
        lambda ws, data: ws.send_binary(data),
        lambda ws, data: ws.ping(data),
        lambda ws, data: ws.pong(data),
        lambda ws, data: ws.publish("news", data),
        lambda ws, data: ws.publish_binary("news", data),
    ]
    async with served(WebSocketHandler(publish_to_self=True), link) as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        for number, send in enumerate(sends):
            data = bytearray(b"data %d" % number)
            send(ws, data)
            data.clear()  # nothing holds on to it either
        for number in range(len(sends)):
            assert (await peer.receive()).payload == b"data %d" % number


# 6: order


@pytest.mark.parametrize("congested", [False, True])
@pytest.mark.parametrize("link", [memory, lockstep, kernel])
async def test_06_what_is_sent_to_one_socket_arrives_in_call_order(
    autojump_clock: MockClock, link: Callable[[], Pair], congested: bool
) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        server = place.server
        ws.send("1")
        ws.publish("news", "2")
        ws.ping("3")
        ws.publish("other", "not to us")
        server.publish("news", BIG)
        ws.send("4")
        ws.send(BIG)
        ws.publish("news", "5")
        ws.publish("news", "6")
        ws.pong("7")
        ws.unsubscribe("news")
        server.publish("news", "not to us any more")
        ws.send("8")
        ws.subscribe("news")
        server.publish("news", "9")
        ws.close(4000, "10")
        server.publish("news", "too late")
        assert ws.send("too late") == 0

    handler = WebSocketHandler(open=lambda ws: ws.subscribe("news"), message=message, publish_to_self=True)
    async with served(handler, link) as place:
        ws, peer = await place.pair()
        if congested:
            ws.send(BIG)
            await settled()
        await peer.send_text("go")
        if congested:
            await receive_big(peer)
        for opcode, payload in [(TEXT, b"1"), (TEXT, b"2"), (PING, b"3"), (BINARY, BIG), (TEXT, b"4"), (BINARY, BIG)]:
            assert await peer.receive() == (opcode, payload, True, 0)
        for opcode, payload in [(TEXT, b"5"), (TEXT, b"6"), (PONG, b"7"), (TEXT, b"8"), (TEXT, b"9")]:
            assert await peer.receive() == (opcode, payload, True, 0)
        assert await peer.receive_close() == (4000, "10")
        await peer.send_close(4000)
        await peer.receive_eof()


async def test_06_sends_of_many_tasks_and_sockets_in_one_tick_arrive_in_call_order(autojump_clock: MockClock) -> None:
    called: list[bytes] = []

    def use(way: int) -> None:
        name = str(len(called))
        called.append(name.encode())
        match way:
            case 0:
                target.send(name)
            case 1:
                target.ping(name)
            case 2:
                other.publish("news", name)
            case 3:
                place.server.publish("news", name)
            case _:
                target.cork(lambda ws: ws.send(name))

    async def task(way: int) -> None:
        for turn in range(way, way + 5):
            use(turn % 5)
            await trio.lowlevel.checkpoint()

    def message(_: Socket, text: str | bytes) -> None:
        use(int(text))

    async with served(WebSocketHandler(message=message)) as place, trio.open_nursery() as nursery:
        target, peer = await place.pair()
        other, other_peer = await place.pair()
        target.subscribe("news")
        await other_peer.send(b"".join(RawPeer.frame(TEXT, b"%d" % way) for way in range(5)))
        for way in range(10):
            nursery.start_soon(task, way)
        await settled()
        assert len(called) == 55
        assert [(await peer.receive()).payload for _ in called] == called


async def test_06_a_send_from_another_thread_takes_its_place() -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.send("1")
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(ws.send, "2"))
        ws.send("3")
        assert [await peer.receive_text() for _ in range(3)] == ["1", "2", "3"]


async def test_06_a_library_client_gets_messages_in_call_order(autojump_clock: MockClock) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        ws.send("sent")
        place.server.publish("news", "published")
        ws.send(b"big" + BIG)
        place.server.publish("news", "published again")
        ws.close(4000, "bye")

    handler = WebSocketHandler(open=lambda ws: ws.subscribe("news"), message=message)
    async with served(handler) as place, place.library_client() as (_, client):
        await client.send_message("hello")
        assert await client.get_message() == "sent"
        assert await client.get_message() == "published"
        assert await client.get_message() == b"big" + BIG
        assert await client.get_message() == "published again"
        with pytest.raises(ClientClosed):
            await client.get_message()
        assert client.closed is not None
        assert (client.closed.code, client.closed.reason) == (4000, "bye")
