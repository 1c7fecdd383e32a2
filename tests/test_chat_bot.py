"""examples/chat/bot.py in a room of examples/chat/server.py: it answers, and it comes back after a crash of the server.

Both are processes of their own, started as their first lines say; the asker is a client program of tests/interop/.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from interop.chat import CHAT, ChatServer, Client, running_client, running_server
from interop.programs import next_line, python_client
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

CLIENT = python_client("trio_websocket")


@contextmanager
def running_bot(server: ChatServer, room: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHAT / "bot.py"), "--url", server.socket_url, "--room", room]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bot:
        try:
            assert next_line(bot) == f"Robin is in {room}\n"
            yield bot
        finally:
            bot.kill()


@pytest.fixture(name="server")
def chat_server() -> Iterator[ChatServer]:
    with running_server() as server:
        yield server


async def ask(client: Client, question: str) -> str:
    """Say something, and return what somebody else says to that."""
    await client.say(question)
    assert (await client.hear("said"))["text"] == question
    answer = await client.hear("said")
    assert answer["name"] == "Robin"
    return str(answer["text"])


async def test_the_bot_answers_who_asks_it(server: ChatServer) -> None:
    with running_bot(server, "garden"):
        async with running_client(CLIENT, server.socket_url) as ada:
            welcome = await ada.join("Ada", "garden")
            assert {member["name"] for member in welcome["members"]} == {"Ada", "Robin"}
            assert "!time" in await ask(ada, "!help")
            assert re.search(r"\d\d:\d\d:\d\d", await ask(ada, "!TIME please"))
            assert await ask(ada, "!who") == "In this room: Ada, Robin."
            assert re.fullmatch(r"The die shows [1-6]\.", await ask(ada, "!roll"))
            assert "!help" in await ask(ada, "Good morning, robin!")


async def test_the_bot_is_silent_when_it_is_not_meant(server: ChatServer) -> None:
    with running_bot(server, "lobby"):
        async with running_client(CLIENT, server.socket_url) as ada:
            await ada.join("Ada")
            for text in "Good morning", "Robinson was here", "Is !time a command?":
                await ada.say(text)
                assert (await ada.hear("said"))["text"] == text
            assert "!time" in await ask(ada, "!help")  # so it had nothing to say before


async def test_two_bots_do_not_keep_each_other_talking(server: ChatServer) -> None:
    with running_bot(server, "lobby"), running_bot(server, "lobby"):
        async with running_client(CLIENT, server.socket_url) as ada:
            await ada.join("Ada")
            await ada.say("Robin, who are you?")
            texts = [(await ada.hear("said"))["text"] for _ in range(3)]
            await ada.say("Silence")
            assert (await ada.hear("said"))["text"] == "Silence"
            assert len(set(texts)) == 2


async def test_the_bot_comes_back_when_the_server_has_crashed(server: ChatServer) -> None:
    with running_bot(server, "lobby") as bot:
        server.kill()
        assert next_line(bot).startswith("Away (")
        server.start()
        async with running_client(CLIENT, server.socket_url) as ada:
            welcome = await ada.join("Ada")
            if len(welcome["members"]) == 1:  # Ada was faster
                assert (await ada.hear("joined"))["name"] == "Robin"
            assert "!time" in await ask(ada, "!help")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_bot_ends_when_asked(server: ChatServer, how: signal.Signals) -> None:
    with running_bot(server, "lobby") as bot:
        bot.send_signal(how)
        assert bot.wait(PATIENCE) == 0
