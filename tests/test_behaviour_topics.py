"""BEHAVIOUR.md, "Topics", sentence by sentence: 10 to 15, seen by clients that choose every byte, and by a library's.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import inspect
import unicodedata
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings, strategies as st
from links import (
    BIG,
    BIG_FRAME,
    KERNEL,
    Watched,
    congest,
    drops,
    kernel,
    lockstep,
    memory,
    nothing_else,
    receive_big,
    served,
    subscribed,
)
from playground import Socket, settled
from scripts import scripts

from trio_bunws import (
    Limits,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    ReadyState,
    Server,
    ServerWebSocket,
    WebSocketHandler,
)
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair
    from trio.testing import MockClock

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
LOG_BYTES = 1024 * 1024
MIB = BIG * 16


# 10: topics and subscriptions


@pytest.mark.parametrize(
    "other",
    [
        "News",
        "news ",
        " news",
        "new",
        "newss",
        "news/",
        "news/*",
        "*",
        "#",
        "news\0",
        "n\N{CYRILLIC SMALL LETTER IE}ws",
    ],
)
async def test_10_topics_are_exact(autojump_clock: MockClock, other: str) -> None:
    async with served(subscribed("news")) as place:
        ws, peer = await place.pair()
        assert place.server.publish(other, "x") == 0
        assert not ws.is_subscribed(other)
        assert place.server.subscriber_count(other) == 0
        assert ws.subscribe(other)
        assert place.server.publish(other, "y") == 1
        assert await peer.receive_text() == "y"
        await nothing_else(ws, peer)


async def test_10_topics_are_not_normalized(autojump_clock: MockClock) -> None:
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", unicodedata.normalize("NFD", "café")
    assert composed != decomposed
    async with served(subscribed(composed)) as place:
        await place.pair()
        assert place.server.publish(decomposed, "x") == 0
        assert place.server.publish(composed, "x") == 1


async def test_10_there_is_one_space_of_topics_per_server(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place, served(subscribed("news")) as other_place:
        (one, one_peer), (two, two_peer) = await place.pairs(2)
        other, other_peer = await other_place.pair()
        assert place.server.publish("news", "x") == 1
        assert one.publish("news", "y") == 1
        assert other.publish("news", "z") == 0
        assert await one_peer.receive_text() == "x"
        assert [await two_peer.receive_text() for _ in range(2)] == ["x", "y"]
        await nothing_else(two, two_peer)
        await nothing_else(other, other_peer)


async def test_10_subscribe_returns_true_also_when_subscribed_and_unsubscribe_only_when_it_was(
    autojump_clock: MockClock,
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        assert ws.unsubscribe("news") is False
        assert ws.is_subscribed("news") is False
        assert [ws.subscribe("news"), ws.subscribe("news")] == [True, True]
        assert ws.is_subscribed("news") is True
        assert place.server.subscriber_count("news") == 1
        place.server.publish("news", "once")
        assert await peer.receive_text() == "once"
        await nothing_else(ws, peer)
        assert [ws.unsubscribe("news"), ws.unsubscribe("news")] == [True, False]
        assert ws.is_subscribed("news") is False
        assert ws.subscribe("news") is True


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes", "peer vanishes"])
async def test_10_when_closing_or_closed_subscribe_returns_false_and_subscriptions_are_gone(
    autojump_clock: MockClock, end: str
) -> None:
    seen: list[object] = []

    def look(ws: Socket, *_: object) -> None:
        seen.append((ws.subscribe("news"), ws.unsubscribe("news"), ws.is_subscribed("news"), ws.subscriptions))

    async with served(subscribed("news", "weather", close=look)) as place:
        ws, peer = await place.pair()
        assert ws.subscriptions == ["news", "weather"]
        match end:
            case "close":
                ws.close()
                look(ws)
                await peer.send_close(1000)
            case "terminate":
                ws.terminate()
                look(ws)
            case "peer closes":
                await peer.send_close(1000)
            case _:
                await peer.stream.aclose()
        await ws.closed()
        await settled()
        look(ws)
        assert len(seen) == 2 + (end in {"close", "terminate"})
        assert all(one == (False, False, False, []) for one in seen)
        assert place.server.topics() == ()


async def test_10_over_max_topics_per_socket_subscribe_returns_false_and_is_counted(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(max_topics_per_socket=2)) as place:
        (ws, _), (other, _) = await place.pairs(2)
        assert [ws.subscribe(topic) for topic in ["a", "b", "c", "d", "a"]] == [True, True, False, False, True]
        assert ws.subscriptions == ["a", "b"]
        assert place.server.statistics().refused_subscriptions == 2
        assert other.subscribe("c")  # a limit of each socket, not of the server
        ws.unsubscribe("a")
        assert ws.subscribe("c")
        assert place.server.statistics().refused_subscriptions == 2


async def test_10_the_default_limit_is_1024_topics(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, _ = await place.pair()
        assert all(ws.subscribe(str(number)) for number in range(1024))
        assert not ws.subscribe("one more")
        assert len(ws.subscriptions) == 1024


USES: list[Callable[[Socket, Server[Any], Any], object]] = [
    lambda ws, _, topic: ws.subscribe(topic),
    lambda ws, _, topic: ws.unsubscribe(topic),
    lambda ws, _, topic: ws.is_subscribed(topic),
    lambda ws, _, topic: ws.publish(topic, "x"),
    lambda ws, _, topic: ws.publish_text(topic, "x"),
    lambda ws, _, topic: ws.publish_binary(topic, b"x"),
    lambda _, server, topic: server.publish(topic, "x"),
    lambda _, server, topic: server.subscriber_count(topic),
    lambda _, server, topic: server.subscribers(topic),
]


@pytest.mark.parametrize("use", USES)
async def test_10_an_empty_or_too_long_topic_raises_value_error_and_what_is_no_str_type_error(
    autojump_clock: MockClock, use: Callable[[Socket, Server[Any], Any], object]
) -> None:
    async with served(subscribed("news")) as place:
        ws, peer = await place.pair()
        with pytest.raises(ValueError, match="expects topic to be a non-empty string"):
            use(ws, place.server, "")
        for topic in ["x" * 1025, "é" * 513, "\N{PERSONAL COMPUTER}" * 257]:
            with pytest.raises(ValueError, match="expects topic to be at most 1024 bytes"):
                use(ws, place.server, topic)
        for topic in ["x" * 1024, "é" * 512, "\N{PERSONAL COMPUTER}" * 256]:
            use(ws, place.server, topic)
        wrong: Any
        for wrong in [None, 1, b"news", ["news"], object()]:
            with pytest.raises(TypeError, match="expects topic to be a string"):
                use(ws, place.server, wrong)
        assert ws.is_subscribed("news")
        await nothing_else(ws, peer)


async def test_10_the_longest_topic_is_a_limit_of_the_server(autojump_clock: MockClock) -> None:
    async with served(limits=Limits(max_topic_length=3)) as place:
        ws, _ = await place.pair()
        assert ws.subscribe("abc")
        with pytest.raises(ValueError, match="at most 3 bytes"):
            ws.subscribe("abcd")


async def test_10_subscriptions_have_no_duplicates(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, _ = await place.pair()
        for topic in ["b", "a", "b", "c", "a"]:
            ws.subscribe(topic)
        assert ws.subscriptions == ["b", "a", "c"]
        ws.subscriptions.clear()  # a copy
        assert ws.subscriptions == ["b", "a", "c"]
        ws.unsubscribe("b")
        ws.subscribe("b")
        assert ws.subscriptions == ["a", "c", "b"]


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


# 13: publish and what follows in the same tick


async def test_13_publish_then_unsubscribe_the_message_still_goes_out(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        (ws, peer), (_, other_peer) = await place.pairs(2)
        place.server.publish("news", "before")
        ws.unsubscribe("news")
        place.server.publish("news", "after")
        assert await peer.receive_text() == "before"
        await nothing_else(ws, peer)
        assert [await other_peer.receive_text() for _ in range(2)] == ["before", "after"]


@pytest.mark.parametrize("congested", [False, True])
async def test_13_publish_then_close_the_message_still_goes_out(autojump_clock: MockClock, congested: bool) -> None:
    async with served(subscribed("news"), kernel) as place:
        ws, peer = await place.pair()
        if congested:
            ws.send(BIG)
        place.server.publish("news", "before")
        ws.close(4000, "bye")
        assert place.server.publish("news", "after") == 0
        if congested:
            await receive_big(peer)
        assert await peer.receive_text() == "before"
        assert await peer.receive_close() == (4000, "bye")
        await peer.send_close(4000)
        await peer.receive_eof()


async def test_13_publish_then_the_senders_close_reaches_the_others(autojump_clock: MockClock) -> None:
    def message(ws: Socket, text: str | bytes) -> None:
        ws.publish("news", text)
        ws.close() if text == "close" else ws.terminate()

    async with served(subscribed("news", message=message)) as place:
        (_, first_peer), (_, second_peer), (ws, peer) = await place.pairs(3)
        await first_peer.send_text("close")
        assert await peer.receive_text() == "close"
        await second_peer.send_text("terminate")
        assert await peer.receive_text() == "terminate"
        await nothing_else(ws, peer)
        assert await first_peer.receive_close() == (1000, "")


async def test_13_publish_then_terminate_is_offered_once(autojump_clock: MockClock) -> None:
    async with served(subscribed("news"), kernel) as place:
        ws, peer = await place.pair()
        place.server.publish("news", "before")
        ws.terminate()
        assert await peer.receive_text() == "before"
        await peer.receive_eof()


async def test_13_publish_then_the_receivers_close_arrives_in_the_same_tick(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        (ws, peer), (sender, _) = await place.pairs(2)
        await peer.send_close(4000, "bye")
        sender.publish("news", "before it is read")
        assert await peer.receive_text() == "before it is read"
        assert await peer.receive_close() == (4000, "bye")
        await peer.receive_eof()
        assert (await ws.closed()).code == 4000


async def test_13_subscribe_after_publish_is_not_reached_by_it(autojump_clock: MockClock) -> None:
    async with served() as place:
        (ws, peer), (other, other_peer) = await place.pairs(2)
        other.subscribe("news")
        place.server.publish("news", "too early")
        ws.subscribe("news")
        place.server.publish("news", "in time")
        assert await peer.receive_text() == "in time"
        assert [await other_peer.receive_text() for _ in range(2)] == ["too early", "in time"]
        await nothing_else(ws, peer)


async def test_13_leaving_and_coming_back_in_one_tick_misses_what_is_between(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        ws, peer = await place.pair()
        for turn in range(3):
            place.server.publish("news", f"inside {turn}")
            assert ws.unsubscribe("news")  # the last one: the topic is gone, and made anew
            assert place.server.publish("news", "outside") == 0
            assert ws.subscribe("news")
        for turn in range(3):
            assert await peer.receive_text() == f"inside {turn}"
        await nothing_else(ws, peer)


async def test_13_a_send_after_a_publish_comes_after_it(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        (ws, peer), (sender, _) = await place.pairs(2)
        sender.publish("news", "1")
        for text in ["2", "3", "4"]:
            ws.send(text)
        sender.publish("news", "5")
        ws.ping("6")
        sender.publish("news", "7")
        ws.publish("news", "not to itself")
        ws.send("8")
        received = [await peer.receive() for _ in range(8)]
        assert [frame.payload for frame in received] == [b"%d" % number for number in range(1, 9)]
        assert received[5].opcode == PING
        await nothing_else(ws, peer)


async def test_13_publish_then_unsubscribe_then_send_in_one_handler(autojump_clock: MockClock) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        ws.publish("news", "1")
        ws.unsubscribe("news")
        ws.send("2")
        ws.publish("news", "not to one that has left")
        ws.subscribe("news")
        ws.send("3")
        ws.publish("news", "4")

    async with served(subscribed("news", message=message, publish_to_self=True)) as place:
        (ws, peer), (_, other_peer) = await place.pairs(2)
        await peer.send_text("go")
        assert [await peer.receive_text() for _ in range(4)] == ["1", "2", "3", "4"]
        assert [await other_peer.receive_text() for _ in range(3)] == ["1", "not to one that has left", "4"]
        await nothing_else(ws, peer)


async def test_13_what_was_published_to_several_topics_keeps_its_order(autojump_clock: MockClock) -> None:
    async with served() as place:
        sockets = await place.pairs(4)
        for (ws, _), topics in zip(sockets, ["a", "ab", "bc", "abc"], strict=True):
            for topic in topics:
                ws.subscribe(topic)
        sender = sockets[1][0]
        expected: list[list[str]] = [[], [], [], []]
        for number, topic in enumerate("abcabccbaabacbbca"):
            text = f"{topic}{number}"
            by = sender if number % 3 == 0 else place.server
            by.publish(topic, text)
            for (ws, _), due in zip(sockets, expected, strict=True):
                if ws.is_subscribed(topic) and ws is not by:
                    due.append(text)
        for (ws, peer), due in zip(sockets, expected, strict=True):
            assert [await peer.receive_text() for _ in due] == due
            await nothing_else(ws, peer)


async def test_13_a_corked_receiver_gets_everything_in_order(autojump_clock: MockClock) -> None:
    watched = Watched()
    async with served(subscribed("news"), watched) as place:
        (ws, peer), (_, other_peer) = await place.pairs(2)
        watched.writes.clear()
        with ws.corked():
            ws.send("1")
            place.server.publish("news", "2")
            await settled()  # the hub has handed it out, but not through the cork
            assert watched.writes == [b"\x81\x012"]
            assert await other_peer.receive_text() == "2"
            ws.send("3")
        assert [await peer.receive_text() for _ in range(3)] == ["1", "2", "3"]
        assert len(watched.writes) == 2


async def test_13_one_ticks_publishes_are_one_write_per_socket(autojump_clock: MockClock) -> None:
    watched = Watched()
    async with served(subscribed("news"), watched) as place:
        await place.pairs(3)
        watched.writes.clear()
        for text in ["1", "2", "3"]:
            place.server.publish("news", text)
        await settled()
        assert watched.writes == [b"\x81\x011\x81\x012\x81\x013"] * 3


async def test_13_hundreds_of_receivers_served_in_turns_keep_their_order(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place, trio.open_nursery() as nursery:
        sockets = await place.pairs(600)  # the hub lets others run after 512

        async def publish() -> None:
            for number in range(5):
                place.server.publish("news", f"{number}a")
                place.server.publish("news", f"{number}b")
                sockets[number][0].send(f"to you, {number}")
                sockets[-1 - number][0].send(f"to you, {number}")
                await trio.lowlevel.checkpoint()

        nursery.start_soon(publish)
        await settled()
        for index, (_, peer) in enumerate(sockets):
            own = index if index < 5 else 599 - index
            for number in range(5):
                assert [await peer.receive_text() for _ in range(2)] == [f"{number}a", f"{number}b"]
                if own == number:
                    assert await peer.receive_text() == f"to you, {number}"


class Modelled:
    """A socket, and what its peer should get by the sentences 6, 11 and 13."""

    def __init__(self, ws: Socket, peer: RawPeer) -> None:
        self.ws = ws
        self.peer = peer
        self.topics: set[str] = set()
        self.due: list[tuple[int, bytes]] = []
        self.due_bytes = ws.statistics().bytes_out
        self.closed = False

    def expect(self, opcode: int, data: bytes) -> None:
        self.due.append((opcode, data))
        self.due_bytes += len(RawPeer.frame(opcode, data, mask=None))

    def send(self, data: bytes) -> None:
        assert isinstance(self.ws.send(data), MessageDropped) is self.closed
        if not self.closed:
            self.expect(BINARY, data)

    def ping(self, data: bytes) -> None:
        assert isinstance(self.ws.ping(data[:9]), MessageDropped) is self.closed
        if not self.closed:
            self.expect(PING, data[:9])

    def subscribe(self, topic: str) -> None:
        assert self.ws.subscribe(topic) is not self.closed
        if not self.closed:
            self.topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        assert self.ws.unsubscribe(topic) is (topic in self.topics)
        self.topics.discard(topic)

    def close(self) -> None:
        if not self.closed:
            self.expect(CLOSE, b"\x03\xe8")
        self.ws.close()
        self.topics.clear()
        self.closed = True


class Room:
    """Three sockets and their server."""

    def __init__(self, server: Server[Any], sockets: list[tuple[Socket, RawPeer]], *, publish_to_self: bool) -> None:
        self.server = server
        self.members = [Modelled(*pair) for pair in sockets]
        self._publish_to_self = publish_to_self

    def publish(self, topic: str, data: bytes, sender: Modelled | None = None) -> None:
        receivers = [
            member
            for member in self.members
            if topic in member.topics and (member is not sender or self._publish_to_self)
        ]
        for member in receivers:
            member.expect(BINARY, data)
        publish = self.server.publish if sender is None else sender.ws.publish
        assert isinstance(publish(topic, data), MessageDropped) is not bool(receivers)

    def call(self, kind: str, index: int, topic: str, data: bytes) -> None:
        """Make one call."""
        member = self.members[index]
        match kind:
            case "send":
                member.send(data)
            case "ping":
                member.ping(data)
            case "socket":
                self.publish(topic, data, member)
            case "server":
                self.publish(topic, data)
            case "subscribe":
                member.subscribe(topic)
            case "unsubscribe":
                member.unsubscribe(topic)
            case _:
                member.close()


KINDS = ["send", "ping", "socket", "socket", "server", "server", "subscribe", "unsubscribe", "tick", "close"]
CALL = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([0, 1, 200, 5000, 20_000])
)


@given(
    script=scripts(CALL, 40),
    link=st.sampled_from([memory, kernel]),
    publish_to_self=st.booleans(),
    corked=st.booleans(),
)
@settings(max_examples=80)
async def test_13_any_sequence_of_calls_is_delivered_in_order(
    script: list[tuple[str, int, str, int]], link: Callable[[], Pair], publish_to_self: bool, corked: bool
) -> None:
    async with served(WebSocketHandler(publish_to_self=publish_to_self), link) as place:
        room = Room(place.server, await place.pairs(3), publish_to_self=publish_to_self)
        for number, (kind, index, topic, size) in enumerate(script):
            if kind == "tick":
                await settled()
                continue
            with room.members[index].ws.corked() if corked else nullcontext():
                room.call(kind, index, topic, b"%d-" % number + b"x" * size)
        await settled()
        for member in room.members:
            statistics = member.ws.statistics()
            assert statistics.bytes_out + statistics.buffered == member.due_bytes  # nothing is held back
            assert [(await member.peer.receive())[:2] for _ in member.due] == member.due


class Slow:
    """A socket whose peer reads when it is told to, and what was accepted for it."""

    def __init__(self, ws: Socket, peer: RawPeer) -> None:
        self.ws = ws
        self.peer = peer
        self.offered: list[bytes] = []
        self.accepted: set[bytes] = set()
        self._read = ws.statistics().bytes_out

    def send(self, data: bytes) -> None:
        over = self.ws.get_buffered_amount() > LIMIT
        status = self.ws.send(data)
        assert status in {-1, 0, len(data)}
        # What was published before is put before it, and may be what passes the limit.
        assert isinstance(status, MessageDropped) if over else True
        self.offered.append(data)
        if not isinstance(status, MessageDropped):
            self.accepted.add(data)

    async def read(self, size: int = 65_536) -> bool:
        """Read what there is; False if there is nothing."""
        await settled()
        if self.ws.statistics().bytes_out == self._read:
            return False
        data = await self.peer.stream.receive_some(size)
        self._read += len(data)
        self.peer.received += data
        return True

    async def read_all(self) -> list[bytes]:
        """Return the payload of everything that was accepted."""
        while await self.read():
            pass
        assert self.ws.get_buffered_amount() == 0
        received: list[bytes] = []
        while self.peer.received:
            received.append((await self.peer.receive()).payload)
        return received


LIMIT = 30_000
SLOW_KINDS = ["send", "socket", "socket", "server", "subscribe", "subscribe", "unsubscribe", "tick", "read", "read"]
SLOW_CALL = st.tuples(
    st.sampled_from(SLOW_KINDS), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([0, 200, 5000, 20_000])
)


@given(script=scripts(SLOW_CALL, 50), link=st.sampled_from([lockstep, kernel]))
@settings(max_examples=80)
async def test_12_whatever_is_dropped_for_slow_readers_is_counted_and_the_rest_arrives_in_order(
    script: list[tuple[str, int, str, int]], link: Callable[[], Pair]
) -> None:
    async with served(WebSocketHandler(backpressure_limit=LIMIT), link) as place:
        members = [Slow(*pair) for pair in await place.pairs(3)]
        for number, (kind, index, topic, size) in enumerate(script):
            member = members[index]
            data = b"%d-" % number + b"x" * size
            match kind:
                case "tick":
                    await settled()
                case "read":
                    await member.read(size + 1)
                case "subscribe":
                    member.ws.subscribe(topic)
                case "unsubscribe":
                    member.ws.unsubscribe(topic)
                case "send":
                    member.send(data)
                case _:
                    by = member.ws if kind == "socket" else place.server
                    receivers = [one for one in members if one.ws.is_subscribed(topic) and one.ws is not by]
                    assert by.publish(topic, data) in ({-1, 0, len(data)} if receivers else {0})
                    for one in receivers:
                        one.offered.append(data)
        await settled()
        for member in members:
            received = await member.read_all()
            assert member.accepted <= set(received)
            assert received == [data for data in member.offered if data in set(received)]
            assert drops(member.ws) == len(member.offered) - len(received)
        for topic in "ab":  # and nobody is thought to be behind any more
            expected = 1 if place.server.subscriber_count(topic) else 0
            assert place.server.publish(topic, "x") == expected


# 14: counts


async def test_14_the_count_of_an_unknown_topic_is_zero(autojump_clock: MockClock) -> None:
    async with served() as place:
        assert place.server.subscriber_count("nobody") == 0
        assert place.server.subscribers("nobody") == ()
        assert place.server.topics() == ()
        ws, _ = await place.pair()
        ws.subscribe("news")
        ws.unsubscribe("news")
        assert place.server.subscriber_count("news") == 0
        assert place.server.topics() == ()


async def test_14_counts_follow_the_subscriptions(autojump_clock: MockClock) -> None:
    async with served(subscribed("news")) as place:
        server = place.server
        (one, _), (two, _), (three, _) = await place.pairs(3)
        two.subscribe("weather")
        assert (server.subscriber_count("news"), server.subscriber_count("weather")) == (3, 1)
        assert server.subscribers("news") == (one, two, three)
        assert server.topics() == ("news", "weather")
        assert server.statistics().topics == 2
        one.unsubscribe("news")
        assert server.subscribers("news") == (two, three)


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes", "peer vanishes", "error"])
async def test_14_closing_sockets_leave_all_topics_by_themselves(autojump_clock: MockClock, end: str) -> None:
    async with served(subscribed("news", "weather")) as place:
        (ws, peer), (other, other_peer) = await place.pairs(2)
        match end:
            case "close":
                ws.close()
            case "terminate":
                ws.terminate()
            case "peer closes":
                await peer.send_close(1000)
                await settled()
            case "peer vanishes":
                await peer.stream.aclose()
                await settled()
            case _:
                await peer.send(b"\xff\xff")  # no frame
                await settled()
        assert place.server.subscribers("news") == place.server.subscribers("weather") == (other,)
        assert place.server.publish("news", "x") == 1
        assert other.publish("news", "nobody is left") == 0
        assert await other_peer.receive_text() == "x"


@pytest.mark.parametrize("end", [ServerWebSocket.close, ServerWebSocket.terminate])
async def test_14_a_slow_socket_that_ends_does_not_count_any_more(
    autojump_clock: MockClock, end: Callable[[Socket], None]
) -> None:
    async with served(subscribed("news", backpressure_limit=BIG_FRAME), kernel) as place:
        (slow, _), (over, _), (_, peer) = await place.pairs(3)
        slow.send(BIG)
        congest(over, BIG_FRAME + 1)
        assert place.server.publish("news", "1") == 0
        end(over)
        assert place.server.publish("news", "2") == -1
        end(slow)
        assert place.server.publish("news", "3") == 1
        assert [await peer.receive_text() for _ in range(3)] == ["1", "2", "3"]


# 15: compression, as far as it can be seen before there is any


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
