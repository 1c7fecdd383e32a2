"""BEHAVIOUR.md, 10 and 14, sentence by sentence: names of topics, subscribing, and how many are subscribed.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from links import BIG, BIG_FRAME, congest, kernel, nothing_else, served, subscribed
from playground import Socket, settled

from trio_bunws import Limits, Server, ServerWebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


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
