"""Other people's clients in the chat: websockets, trio-websocket, Node's `ws` and Bun's own.

Each is a program of tests/interop/ that talks to examples/chat/server.py in a process of its own, so that nothing of
trio_bunws is on both sides of the wire.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from interop.chat import ChatServer, running_client, running_server
from interop.programs import bun_client, node_client, python_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS: dict[str, Callable[[], list[str]]] = {
    "websockets": partial(python_client, "websockets"),
    "trio-websocket": partial(python_client, "trio_websocket"),
    "ws": partial(node_client, "ws"),
    "bun": bun_client,
}


@pytest.fixture(name="server")
def chat_server() -> Iterator[ChatServer]:
    with running_server() as server:
        yield server


@pytest.fixture(name="command", params=list(CLIENTS))
def client_command(request: pytest.FixtureRequest) -> list[str]:
    return CLIENTS[request.param]()


async def test_a_client_and_another_hear_each_other_come_talk_and_go(server: ChatServer, command: list[str]) -> None:
    async with (
        running_client(command, server.socket_url) as ada,
        running_client(CLIENTS["trio-websocket"](), server.socket_url) as grace,
    ):
        assert [member["name"] for member in (await ada.join("Ada"))["members"]] == ["Ada"]
        assert {member["name"] for member in (await grace.join("Grace"))["members"]} == {"Ada", "Grace"}
        joined = await ada.hear("joined")
        assert (joined["name"], joined["count"]) == ("Grace", 2)

        await ada.say("Good morning, Grace")
        for member in ada, grace:
            said = await member.hear("said")
            assert (said["name"], said["text"]) == ("Ada", "Good morning, Grace")
        await grace.say("Zażółć gęślą jaźń 👩🏽‍🚀 早上好")
        for member in ada, grace:
            said = await member.hear("said")
            assert (said["name"], said["text"]) == ("Grace", "Zażółć gęślą jaźń 👩🏽‍🚀 早上好")

        await grace.leave()
        assert await grace.closed() == 1000
        left = await ada.hear("left")
        assert (left["name"], left["count"]) == ("Grace", 1)
    async with running_client(CLIENTS["trio-websocket"](), server.socket_url) as linus:
        await linus.join("Linus", "garden")  # whoever is elsewhere hears of rooms only
        await linus.rooms_like(lobby=0, garden=1, workshop=0)


async def test_a_client_that_closes_is_answered_and_its_room_told(server: ChatServer, command: list[str]) -> None:
    async with (
        running_client(command, server.socket_url) as ada,
        running_client(CLIENTS["trio-websocket"](), server.socket_url) as grace,
    ):
        await grace.join("Grace")
        await ada.join("Ada")
        assert (await grace.hear("joined"))["count"] == 2
        await ada.leave()
        assert await ada.closed() == 1000
        left = await grace.hear("left")
        assert (left["name"], left["count"]) == ("Ada", 1)


async def test_a_client_that_vanishes_has_left(server: ChatServer, command: list[str]) -> None:
    async with running_client(CLIENTS["trio-websocket"](), server.socket_url) as grace:
        await grace.join("Grace")
        async with running_client(command, server.socket_url) as ada:
            await ada.join("Ada")
            assert (await grace.hear("joined"))["count"] == 2
            ada.process.kill()
            left = await grace.hear("left")
            assert (left["name"], left["count"]) == ("Ada", 1)


async def test_a_client_of_a_server_that_stops_gets_a_close_frame(server: ChatServer, command: list[str]) -> None:
    async with running_client(command, server.socket_url) as ada:
        await ada.join("Ada")
        await ada.rooms_like(lobby=1, garden=0, workshop=0)
        server.ask_to_stop()
        assert await ada.closed() == 1001
    server.stop()


async def test_all_clients_in_one_room_hear_everything_in_one_order(server: ChatServer) -> None:
    async with (
        running_client(CLIENTS["websockets"](), server.socket_url) as a,
        running_client(CLIENTS["trio-websocket"](), server.socket_url) as b,
        running_client(CLIENTS["ws"](), server.socket_url) as c,
        running_client(CLIENTS["bun"](), server.socket_url) as d,
    ):
        clients = [a, b, c, d]
        for place, client in enumerate(clients):
            await client.join(f"member {place}")
            for earlier in clients[:place]:
                await earlier.hear("joined")
        for place, client in enumerate(clients):
            for number in range(5):
                await client.say(f"{place}.{number}")
        heard = [[(await client.hear("said"))["text"] for _ in range(20)] for client in clients]
    assert heard[0] == heard[1] == heard[2] == heard[3]
    assert sorted(heard[0]) == [f"{place}.{number}" for place in range(4) for number in range(5)]
