"""BEHAVIOUR.md, 13, sentence by sentence: a publish, and what follows it in the same tick.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from links import BIG, Watched, kernel, nothing_else, receive_big, served, subscribed
from playground import Socket, settled

if TYPE_CHECKING:
    from trio.testing import MockClock

PING = 9


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
