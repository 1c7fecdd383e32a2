"""BEHAVIOUR.md, 11, 12 and 15, sentence by sentence: whom a publish reaches, what it returns, and slow receivers.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from links import BIG, BIG_FRAME, KERNEL, congest, drops, kernel, memory, nothing_else, receive_big, served, subscribed
from playground import Socket, settled

from trio_bunws import (
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    ReadyState,
    Server,
    ServerWebSocket,
    WebSocketHandler,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair
    from trio.testing import MockClock

BINARY = 2
LOG_BYTES = 1024 * 1024
MIB = BIG * 16


# 11: who receives


async def test_11_a_sockets_publish_reaches_every_subscriber_but_the_sender(autojump_clock: MockClock) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        ws.publish("news", "zażółć")
        ws.publish_text("news", "")
        ws.publish_binary("news", b"\x00" * 126)
        ws.publish("weather", "rain")

    async with served(subscribed("news", message=message)) as place:
        (sender, sender_peer), *others = await place.pairs(4)
        await sender_peer.send_text("go")
        for ws, peer in others:
            assert await peer.receive_text() == "zażółć"
            assert await peer.receive_text() == ""
            assert await peer.receive() == (BINARY, b"\x00" * 126, True, 0)
            await nothing_else(ws, peer)
        await nothing_else(sender, sender_peer)


async def test_11_with_publish_to_self_the_sender_too_if_it_is_subscribed(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(publish_to_self=True)) as place:
        (ws, peer), (other, other_peer) = await place.pairs(2)
        other.subscribe("news")
        ws.publish("news", "not to the sender")
        ws.subscribe("news")
        ws.publish("news", "to both")
        assert await peer.receive_text() == "to both"
        assert [await other_peer.receive_text() for _ in range(2)] == ["not to the sender", "to both"]


async def test_11_the_sender_need_not_be_subscribed(autojump_clock: MockClock) -> None:
    async with served() as place:
        (sender, sender_peer), (ws, peer) = await place.pairs(2)
        ws.subscribe("news")
        assert sender.publish("news", "x") == 1
        assert await peer.receive_text() == "x"
        await nothing_else(sender, sender_peer)


async def test_11_a_servers_publish_reaches_all(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        sockets = await place.pairs(3)
        assert place.server.publish("news", "text") == 4
        assert place.server.publish("news", bytearray(b"data")) == 4
        for ws, peer in sockets:
            assert await peer.receive_text() == "text"
            assert await peer.receive() == (BINARY, b"data", True, 0)
            await nothing_else(ws, peer)


@pytest.mark.parametrize("publish_to_self", [False, True])
async def test_11_from_a_closed_socket_publish_still_reaches_others(
    autojump_clock: MockClock, publish_to_self: bool
) -> None:
    def close(ws: Socket, _code: int, _reason: str) -> None:
        assert ws.publish("news", "in the close handler") == 20

    async with served(subscribed("news", close=close, publish_to_self=publish_to_self)) as place:
        (sender, sender_peer), (ws, peer) = await place.pairs(2)
        sender.close(4000, "bye")
        assert sender.publish("news", "closing") == 7
        assert await sender_peer.receive_close() == (4000, "bye")
        await sender_peer.send_close(4000)
        await sender.closed()
        await settled()
        assert sender.ready_state is ReadyState.CLOSED
        assert sender.publish("news", "closed") == 6
        await sender_peer.receive_eof()
        for text in ["closing", "in the close handler", "closed"]:
            assert await peer.receive_text() == text
        await nothing_else(ws, peer)


async def test_11_library_clients_hear_each_other(autojump_clock: MockClock) -> None:
    def message(ws: Socket, message: str | bytes) -> None:
        ws.publish("news", message)

    async with (
        served(subscribed("news", message=message)) as place,
        place.library_client() as (_, ada),
        place.library_client() as (_, grace),
        place.library_client() as (_, linus),
    ):
        await ada.send_message("from Ada")
        assert [await grace.get_message(), await linus.get_message()] == ["from Ada"] * 2
        await grace.send_message(b"from Grace")
        assert [await ada.get_message(), await linus.get_message()] == [b"from Grace"] * 2


# 12: what a publish returns, and slow receivers


async def test_12_the_value_is_the_payloads_length_and_not_multiplied(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        (sender, _), *_ = await place.pairs(4)
        messages: list[tuple[str | bytes, int]] = [("zażółć", 10), ("", 0), (b"data", 4), (BIG, len(BIG))]
        for data, size in messages:
            for publish in (sender.publish, place.server.publish):
                status = publish("news", data)
                assert status == size
                assert isinstance(status, MessageSent)


async def test_12_the_value_is_zero_if_there_is_no_receiver(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        statuses = [
            ws.publish("news", "the sender does not count"),
            ws.publish_text("unknown", "x"),
            ws.publish_binary("unknown", b"x"),
            place.server.publish("unknown", "x"),
        ]
        assert statuses == [0, 0, 0, 0]
        assert {type(status) for status in statuses} == {MessageDropped}
        assert drops(ws) == 0
        await nothing_else(ws, peer)


async def test_12_with_publish_to_self_a_subscribed_sender_is_a_receiver(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", publish_to_self=True)) as place:
        ws, peer = await place.pair()
        assert ws.publish("news", "x") == 1
        assert await peer.receive_text() == "x"


async def test_12_the_value_is_minus_one_if_a_receiver_has_unsent_bytes(autojump_clock: MockClock) -> None:
    async with served(subscribed("news"), kernel) as place:
        (slow, slow_peer), (fast, fast_peer), (sender, _) = await place.pairs(3)
        slow.send(BIG)
        statuses = [place.server.publish("news", "one"), sender.publish("news", "two")]
        assert statuses == [-1, -1]
        assert {type(status) for status in statuses} == {MessageBackpressured}
        assert [await fast_peer.receive_text() for _ in range(2)] == ["one", "two"]
        await receive_big(slow_peer)
        assert [await slow_peer.receive_text() for _ in range(2)] == ["one", "two"]
        await settled()
        assert sender.publish("news", "three") == 5
        assert await slow_peer.receive_text() == "three"
        assert await fast_peer.receive_text() == "three"
        await nothing_else(fast, fast_peer)


async def test_12_the_value_is_zero_if_a_receiver_is_over_its_limit_and_the_others_get_everything(
    autojump_clock: MockClock,
) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        (slow, slow_peer), (behind, behind_peer), (fast, fast_peer), (sender, _) = await place.pairs(4)
        taken = congest(slow, BIG_FRAME + 1)
        behind.send(BIG)
        texts = [str(number) for number in range(10)]
        statuses = [sender.publish("news", text) for text in texts]
        assert statuses == [0] * 10
        assert {type(status) for status in statuses} == {MessageDropped}
        await settled()
        assert drops(slow) == 10  # one by one
        assert drops(behind) == drops(fast) == drops(sender) == 0
        assert place.server.statistics().drops == 10
        assert [await fast_peer.receive_text() for _ in texts] == texts
        await receive_big(behind_peer)
        assert [await behind_peer.receive_text() for _ in texts] == texts
        await receive_big(slow_peer, taken)
        await settled()
        assert sender.publish("news", "again") == 5
        for peer in (slow_peer, behind_peer, fast_peer):
            assert await peer.receive_text() == "again"


async def test_12_the_senders_own_unsent_bytes_do_not_count(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        (sender, _), (_, peer) = await place.pairs(2)
        sender.send(BIG)
        assert sender.publish("news", "behind") == 6
        congest(sender, BIG_FRAME + 1)
        assert sender.publish("news", "over the limit") == 14
        assert place.server.publish("news", "dropped for one") == 0
        assert [await peer.receive_text() for _ in range(3)] == ["behind", "over the limit", "dropped for one"]
        assert drops(sender) == 1


async def test_12_what_a_sender_does_not_get_is_not_counted_for_it(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        (sender, _), (ws, _) = await place.pairs(2)

        def publish() -> None:
            for text in ["1", "2", "3"]:
                sender.publish("news", text)
                place.server.publish("news", text)

        publish()
        await settled()
        assert (sender.statistics().messages_out, ws.statistics().messages_out) == (3, 6)
        congest(sender, BIG_FRAME + 1)
        publish()
        await settled()
        assert (drops(sender), drops(ws)) == (3, 0)


async def test_12_the_value_is_as_known_at_the_call(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        # More than the limit, but still in this tick's batch, which is taken whole.
        assert [place.server.publish("news", BIG) for _ in range(3)] == [len(BIG)] * 3
        await settled()
        assert ws.get_buffered_amount() > 3 * BIG_FRAME - KERNEL
        assert drops(ws) == 0
        assert place.server.publish("news", "x") == 0
        await receive_big(peer, 3)
        await settled()
        assert place.server.publish("news", "y") == 1
        assert await peer.receive_text() == "y"


async def test_12_other_topics_do_not_feel_a_slow_subscriber(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        (slow, _), (fast, _) = await place.pairs(2)
        slow.subscribe("a")
        fast.subscribe("b")
        slow.send(BIG)
        assert place.server.publish("a", "x") == -1
        assert place.server.publish("b", "x") == 1
        slow.subscribe("b")  # slow already when it subscribes
        assert place.server.publish("b", "x") == -1
        slow.unsubscribe("b")
        assert place.server.publish("b", "x") == 1
        slow.terminate()
        assert place.server.publish("a", "x") == 0  # nobody is left


async def test_12_a_ticks_batch_is_dropped_whole(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        taken = congest(ws, BIG_FRAME + 1)
        for number in range(100):
            place.server.publish("news", str(number))
        # The peer makes room in the tick in which the batch is handed out.
        await peer.receive_exactly(taken * BIG_FRAME)
        await settled()
        assert drops(ws) in {0, 100}
        if drops(ws) == 0:
            assert [await peer.receive_text() for _ in range(100)] == [str(number) for number in range(100)]
        await nothing_else(ws, peer)


async def test_12_a_batch_that_a_send_cuts_in_two_is_two_batches(autojump_clock: MockClock) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        place.server.publish("news", BIG)
        place.server.publish("news", BIG)
        assert ws.send("dropped") == 0  # after what was published, which is over the limit
        place.server.publish("news", "dropped too")
        await settled()
        assert drops(ws) == 2
        await receive_big(peer, 2)
        await settled()
        await nothing_else(ws, peer)


@pytest.mark.parametrize("link", [memory, kernel])
async def test_12_a_buffer_passes_the_limit_by_at_most_one_batch_of_1_mib(
    autojump_clock: MockClock, link: Callable[[], Pair]
) -> None:
    limit = BIG_FRAME
    async with served(subscribed("news", backpressure_limit=limit), link) as place:
        ws, peer = await place.pair()
        statuses = [place.server.publish("news", BIG) for _ in range(100)]  # 6 MiB in one tick
        most = ws.get_buffered_amount()
        assert limit < most <= limit + LOG_BYTES
        assert statuses[0] == len(BIG)
        assert statuses[-1] == 0
        await settled()
        assert drops(ws) > 50
        await receive_big(peer, 100 - drops(ws))
        await settled()
        await nothing_else(ws, peer)


async def test_12_a_message_larger_than_a_batch_is_delivered(autojump_clock: MockClock) -> None:
    async with served(subscribed("news"), kernel) as place:
        (_, peer), (_, other_peer) = await place.pairs(2)
        for text, data in [("one", MIB), ("two", MIB + MIB)]:
            assert place.server.publish("news", text) == 3
            assert place.server.publish("news", data) != 0
            for one in (peer, other_peer):
                assert await one.receive_text() == text
                assert await one.receive() == (BINARY, data, True, 0)
            await settled()


async def test_12_many_publishes_in_one_tick_all_arrive_in_order(autojump_clock: MockClock) -> None:
    count = 10_000  # more than the log takes at once

    def message(ws: Socket, _: str | bytes) -> None:
        for number in range(count):
            assert not isinstance(ws.publish("news", str(number)), MessageDropped)

    async with served(subscribed("news", message=message)) as place:
        (sender, sender_peer), *others = await place.pairs(3)
        await sender_peer.send_text("go")
        for ws, peer in others:
            assert [await peer.receive_text() for _ in range(count)] == [str(number) for number in range(count)]
            await nothing_else(ws, peer)
        await nothing_else(sender, sender_peer)


async def test_12_a_slow_receiver_that_is_closed_for_it_costs_nobody_a_message(autojump_clock: MockClock) -> None:
    closed: list[Socket] = []
    handler = subscribed(
        "news",
        close=lambda ws, _code, _reason: closed.append(ws),
        backpressure_limit=BIG_FRAME,
        close_on_backpressure_limit=True,
    )
    async with served(handler, kernel) as place:
        sockets = await place.pairs(5)
        slow = [sockets[0][0], sockets[2][0], sockets[4][0]]
        for ws in slow:
            congest(ws, BIG_FRAME + 1)
        assert place.server.publish("news", "one") == 0
        sockets[1][0].unsubscribe("news")  # applies the log to this socket only
        assert place.server.publish("news", "two") == 0
        assert slow[1].send("applies it too, and so closes the socket") == 0
        assert slow[1].ready_state is not ReadyState.OPEN
        await settled()
        assert set(closed) == set(slow)
        assert place.server.subscriber_count("news") == 1
        assert await sockets[1][1].receive_text() == "one"
        assert [await sockets[3][1].receive_text() for _ in range(2)] == ["one", "two"]
        await nothing_else(*sockets[1])
        await nothing_else(*sockets[3])


# 15: the defaults of `compress`, and clients without compression


def test_15_server_publish_compresses_by_default_and_the_methods_of_sockets_do_not() -> None:
    assert inspect.signature(Server.publish).parameters["compress"].default is True
    for method in (
        ServerWebSocket.publish,
        ServerWebSocket.publish_text,
        ServerWebSocket.publish_binary,
        ServerWebSocket.send,
        ServerWebSocket.send_text,
        ServerWebSocket.send_binary,
    ):
        assert inspect.signature(method).parameters["compress"].default is False


@pytest.mark.parametrize("offer", [(), (("Sec-WebSocket-Extensions", "permessage-deflate"),)])
async def test_15_nothing_is_compressed_for_a_client_that_has_not_agreed(
    autojump_clock: MockClock, offer: tuple[tuple[str, str], ...]
) -> None:
    text = "compressible " * 100
    async with served(subscribed("news", publish_to_self=True)) as place:
        peer = await place.connect()
        assert "sec-websocket-extensions" not in await peer.upgrade("/", offer)
        (ws,) = place.sockets
        place.server.publish("news", text)
        place.server.publish("news", text, True)
        place.server.publish("news", text, compress=False)
        ws.publish("news", text, True)
        ws.publish("news", text, compress=False)
        ws.publish_text("news", text, compress=True)
        ws.publish_binary("news", text.encode(), compress=True)
        ws.send(text, compress=True)
        received = [await peer.receive() for _ in range(8)]
        assert {frame.payload.decode() for frame in received} == {text}
        assert {frame.rsv for frame in received} == {0}
