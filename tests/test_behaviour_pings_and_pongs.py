"""BEHAVIOUR.md, 4, sentence by sentence: automatic pongs, and the pings and pongs of the application.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from links import BIG, BIG_FRAME, drops, kernel, lockstep, receive_big, served
from playground import settled

from trio_bunws import MessageDropped, MessageSent, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT, BINARY, PING, PONG = 1, 2, 9, 10


async def test_04_every_ping_is_answered_while_nothing_is_unsent(autojump_clock: MockClock) -> None:
    async with served() as place:
        _, peer = await place.pair()
        payloads = [b"", b"1", b"\x00" * 125, b"2"]
        await peer.send(b"".join(RawPeer.frame(PING, payload) for payload in payloads))
        assert [await peer.receive() for _ in payloads] == [(PONG, payload, True, 0) for payload in payloads]


async def test_04_while_bytes_are_unsent_one_pong_waits_and_a_newer_ping_replaces_it_in_place(
    autojump_clock: MockClock,
) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        ws.send("in flight")
        await settled()
        ws.send("before")
        for payload in [b"1", b"22", b""]:
            await peer.send(RawPeer.frame(PING, payload))
            await settled()
            ws.send(b"after " + payload)
        await peer.send(RawPeer.frame(PING, b"last"))
        await settled()
        assert ws.get_buffered_amount() == (2 + 6) + (2 + 4) + (2 + 7) + (2 + 8) + (2 + 6)
        assert [await peer.receive() for _ in range(6)] == [
            (TEXT, b"in flight", True, 0),
            (TEXT, b"before", True, 0),
            (PONG, b"last", True, 0),
            (BINARY, b"after 1", True, 0),
            (BINARY, b"after 22", True, 0),
            (BINARY, b"after ", True, 0),
        ]
        await settled()
        await peer.send(RawPeer.frame(PING, b"again"))  # nothing waits any more: a pong of its own
        assert await peer.receive() == (PONG, b"again", True, 0)


async def test_04_a_pong_is_replaced_wherever_the_transport_stopped(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        ws.send("before")
        await peer.send(RawPeer.frame(PING, b"old"))
        await settled()
        ws.send("after")
        received = 0
        for number in range(3):
            received += len(await peer.receive_exactly(BIG_FRAME // 5))
            await settled()  # the writer has offered all that is unsent, and the kernel refused the end of it
            await peer.send(RawPeer.frame(PING, b"new %d" % number))
            await settled()
        await peer.receive_exactly(BIG_FRAME - received)
        assert [await peer.receive() for _ in range(3)] == [
            (TEXT, b"before", True, 0),
            (PONG, b"new 2", True, 0),
            (TEXT, b"after", True, 0),
        ]
        ws.send("end")
        assert await peer.receive_text() == "end"


async def test_04_automatic_pongs_are_not_dropped_over_the_limit(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=1), lockstep) as place:
        ws, peer = await place.pair()
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        assert ws.send("dropped") == 0
        for number in range(1000):
            await peer.send(RawPeer.frame(PING, b"%d" % number))
        await settled()
        assert ws.get_buffered_amount() == (2 + 14) + (2 + 3)  # a peer that pings and does not read costs one frame
        assert await peer.receive_text() == "in flight"
        assert await peer.receive_text() == "over the limit"
        assert await peer.receive() == (PONG, b"999", True, 0)
        assert drops(ws) == 1


@pytest.mark.parametrize("method", ["ping", "pong"])
async def test_04_pings_and_pongs_of_the_app_return_as_messages_do(autojump_clock: MockClock, method: str) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        control = getattr(ws, method)
        assert control(b"one") == MessageSent(3)
        await settled()
        assert control("é") == -1
        assert control() == -1
        assert ws.get_buffered_amount() == 4 + 2
        opcode = PING if method == "ping" else PONG
        assert [await peer.receive() for _ in range(3)] == [
            (opcode, payload, True, 0) for payload in [b"one", "é".encode(), b""]
        ]


@pytest.mark.parametrize("method", ["ping", "pong"])
async def test_04_over_the_limit_pings_and_pongs_of_the_app_are_accepted_up_to_64_kib(
    autojump_clock: MockClock, method: str
) -> None:
    payload = b"x" * 125
    async with served(WebSocketHandler(backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        control = getattr(ws, method)
        for _ in range(2):  # the second time anew
            while (status := ws.send(BIG)) == -1:
                pass
            assert status == 0
            before, dropped = ws.get_buffered_amount(), drops(ws)
            accepted = 0
            while (status := control(payload)) == -1:
                accepted += 1
            assert status == 0
            assert isinstance(status, MessageDropped)
            assert 64 * 1024 - 127 < accepted * 127 <= 64 * 1024
            assert ws.get_buffered_amount() == before + accepted * 127
            assert drops(ws) == dropped + 1
            assert ws.send("a message") == 0
            await receive_big(peer, 2)
            for _ in range(accepted):
                assert await peer.receive() == (PING if method == "ping" else PONG, payload, True, 0)
            await settled()
            assert control(payload) == 125
            assert (await peer.receive()).payload == payload
            await settled()


async def test_04_a_library_client_gets_its_pong_while_the_server_has_much_to_send(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place, place.library_client() as (ws, client), trio.open_nursery() as nursery:
        for _ in range(5):
            ws.send(BIG)
        nursery.start_soon(client.ping, b"are you there?")  # returns with the pong
        ws.ping(b"and you?")
        for _ in range(5):
            assert await client.get_message() == BIG
