"""examples/chat/server.py and clients that are clumsy or worse: each gets a polite answer, and the others go on.

The server is a process of its own and the client trio-websocket's; how it looks in a browser is test_chat_browser.py.
"""

from __future__ import annotations

import signal
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from interop.chat import ChatServer, running_client, running_server
from interop.programs import python_client
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = python_client("trio_websocket")


@pytest.fixture(name="server")
def chat_server() -> Iterator[ChatServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def standing() -> Iterator[ChatServer]:
    """Run a server for all tests that join no room there."""
    with running_server() as server:
        yield server


SENSELESS = [
    ("hello?", None, "only JSON"),
    ("", None, "only JSON"),
    ("[" * 10_000, None, "only JSON"),
    ("9" * 10_000, None, "only JSON"),
    ("null", None, "does not understand"),
    ("[]", None, "does not understand"),
    ('{"type": ["join"]}', None, "does not understand"),
    ('{"type": "join", "name": "Ada"}', None, "does not understand"),
    ('{"type": "say", "text": 7}', None, "does not understand"),
    ('{"type": "join", "name": "", "room": "lobby"}', "join", "name is empty"),
    ('{"type": "join", "name": "\\u200b\\u0007", "room": "lobby"}', "join", "name is empty"),
    ('{"type": "join", "name": "Ada", "room": "\\ud800"}', "join", "room name is empty"),
    (f'{{"type": "join", "name": "{"A" * 25}", "room": "lobby"}}', "join", "name is too long: at most 24"),
    (f'{{"type": "say", "text": "{"A" * 1001}"}}', "say", "message is too long: at most 1000"),
    ('{"type": "say", "text": " \\n "}', "say", "message is empty"),
]


async def test_a_senseless_message_is_answered_with_an_error_and_the_room_goes_on(server: ChatServer) -> None:
    async with running_client(CLIENT, server.socket_url) as ada, running_client(CLIENT, server.socket_url) as grace:
        await ada.join("Ada")
        await grace.join("Grace")
        assert (await ada.hear("joined"))["name"] == "Grace"
        for number, (line, about, words) in enumerate(SENSELESS):
            await grace.send_line(line)
            error = await grace.hear("error")
            assert error["about"] == about, line
            assert words in error["message"], line
            await (ada, grace)[number % 2].say(f"still here after {number}")
            for member in ada, grace:
                assert (await member.hear("said"))["text"] == f"still here after {number}"


async def test_who_has_joined_no_room_can_say_nothing(server: ChatServer) -> None:
    async with running_client(CLIENT, server.socket_url) as ada:
        await ada.say("hello?")
        error = await ada.hear("error")
        assert (error["about"], error["message"]) == ("say", "Join a room first.")


async def test_a_client_in_a_hurry_is_slowed_down_and_the_room_spared(server: ChatServer) -> None:
    async with running_client(CLIENT, server.socket_url) as ada:
        await ada.join("Ada")
        for number in range(300):  # over a minute's worth
            await ada.say(str(number))
        heard = 0
        while (await ada.hear_any())["type"] == "said":
            heard += 1
        assert 10 < heard < 300


async def test_a_message_over_the_limit_closes_only_its_sender(server: ChatServer) -> None:
    async with running_client(CLIENT, server.socket_url) as ada, running_client(CLIENT, server.socket_url) as grace:
        await ada.join("Ada")
        await grace.join("Grace")
        await ada.hear("joined")
        await grace.say("A" * 20_000)
        assert await grace.closed() == 1009
        assert (await ada.hear("left"))["count"] == 1


async def test_names_are_shown_in_one_line_and_rooms_in_lower_case(server: ChatServer) -> None:
    async with running_client(CLIENT, server.socket_url) as ada:
        welcome = await ada.join("  Ada \n Lovelace\u0007 ", " The  GARDEN ")
        assert (welcome["name"], welcome["room"]) == ("Ada Lovelace", "the garden")


async def test_changing_the_room_tells_both_rooms(server: ChatServer) -> None:
    async with (
        running_client(CLIENT, server.socket_url) as ada,
        running_client(CLIENT, server.socket_url) as grace,
        running_client(CLIENT, server.socket_url) as linus,
    ):
        await ada.join("Ada", "lobby")
        await grace.join("Grace", "attic")
        await linus.join("Linus", "lobby")
        assert (await ada.hear("joined"))["name"] == "Linus"
        welcome = await linus.join("Linus", "attic")
        assert [member["name"] for member in welcome["members"]].count("Linus") == 1
        assert (await ada.hear("left"))["name"] == "Linus"
        assert (await grace.hear("joined"))["count"] == 2
        await ada.rooms_like(lobby=1, garden=0, workshop=0, attic=2)
        await linus.say("up here")
        assert (await grace.hear("said"))["text"] == "up here"
        await ada.say("down here")
        assert (await ada.hear("said"))["text"] == "down here"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_the_server_ends_in_good_order_when_asked(server: ChatServer, how: signal.Signals) -> None:
    async with running_client(CLIENT, server.socket_url) as ada, running_client(CLIENT, server.socket_url) as grace:
        await ada.join("Ada")
        await grace.join("Grace")
        await grace.say("Good night!")
        assert (await grace.hear("said"))["text"] == "Good night!"
        server.ask_to_stop(how)
        await ada.hear("joined")
        assert (await ada.hear("said"))["text"] == "Good night!"
        assert await ada.closed() == 1001
        assert await grace.closed() == 1001
    server.stop()


def handshake(server: ChatServer, origin: str | None) -> int:
    """Ask for a WebSocket as a page of that origin does, or as a program, and return the status."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    } | ({} if origin is None else {"Origin": origin})
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/chat", headers=headers)
        return connection.getresponse().status


def test_its_own_page_and_programs_may_open_the_socket_and_other_pages_may_not(standing: ChatServer) -> None:
    own = [f"http://127.0.0.1:{standing.port}", f"http://localhost:{standing.port}", None]
    assert [handshake(standing, origin) for origin in own] == [101, 101, 101]
    others = ["https://evil.example", "null", "http://127.0.0.1", f"https://127.0.0.1:{standing.port}"]
    assert [handshake(standing, origin) for origin in others] == [403, 403, 403, 403]


def test_the_page_may_come_from_elsewhere_if_told_so() -> None:
    with running_server("--origin", "https://chat.example", "--origin", "https://chat.example:8443") as server:
        assert handshake(server, "https://chat.example") == 101
        assert handshake(server, "https://chat.example:8443") == 101
        assert handshake(server, "https://other.example") == 403


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/index.html", "text/html"), ("/style.css", "text/css"), ("/chat.js", "text/javascript")],
)
def test_the_page_is_served_with_its_type_and_its_rules(standing: ChatServer, path: str, kind: str) -> None:
    with closing(HTTPConnection("127.0.0.1", standing.port)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers.get_content_type() == kind
        assert response.headers.get_content_charset() == "utf-8"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.read()


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/../server.py", 404), ("/%2e%2e/server.py", 404), ("/chat", 426)]
)
def test_whatever_else_is_asked_for_is_refused(standing: ChatServer, path: str, status: int) -> None:
    with closing(HTTPConnection("127.0.0.1", standing.port)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().status == status
