"""What the code of the shorter pages of docs/ does: each example is run as it stands there, and behaves as told."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import trio
from pages import ROOT, ran, text_of

from trio_bunws import Limits, WebSocket, open_server, serve
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

MANY = "howto/many-sockets.md"


@asynccontextmanager
async def served(arguments: tuple[Any, ...]) -> AsyncGenerator[Callable[..., Awaitable[WebSocket]]]:
    """Serve what a page gave to `trio.run`, in memory; yield what connects a client to it."""
    what, fetch, handler = arguments
    assert what is serve
    listener = MemoryListener()
    async with open_server(fetch, handler, listeners=[listener]):

        async def connect(path: str = "/", **options: Any) -> WebSocket:
            return WebSocket(f"ws://server.test{path}", stream=await listener.connect(), **options)

        yield connect


async def test_the_server_of_the_first_page_sends_back_what_it_gets(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran("index.md") as page:
        async with served(page.runs[0]) as connect, await connect() as client:
            client.send("hello")
            assert await client.receive() == "hello"
            client.send(b"\x00\xff")
            assert await client.receive() == b"\x00\xff"


def test_every_example_is_on_the_page_of_examples() -> None:
    shown = re.findall(r"^```\{literalinclude\} \.\./(\S+)$", text_of("examples.md"), re.MULTILINE)
    servers = sorted((ROOT / "examples").glob("*.py"))
    assert sorted(shown) == sorted([*(str(file.relative_to(ROOT)) for file in servers), "examples/chat/server.py"])


async def test_the_server_for_many_sockets_has_the_limits_that_its_page_tells(
    autojump_clock: MockClock,  # noqa: ARG001 - no wait takes time
) -> None:
    served: list[dict[str, Any]] = []

    async def serve_nothing(**options: Any) -> None:
        served.append(options)

    with ran(MANY) as page, mock.patch.object(page.names["resource"], "getrlimit", return_value=(65_536, 65_536)):
        page.names["serve"] = serve_nothing
        await page.names["main"]()
    (options,) = served
    assert options["limits"] == Limits(max_connections=50_000)
    handler = options["websocket"]
    listener = MemoryListener()
    async with (
        open_server(None, handler, listeners=[listener]) as server,
        WebSocket("ws://server.test/", stream=await listener.connect()) as client,
    ):
        assert server.subscriber_count("news") == 1
        client.send("x" * (16 * 1024 + 1))
        assert (await client.closed()).code == 1009


def test_too_few_descriptors_are_told_at_the_start() -> None:
    with (
        ran(MANY) as page,
        mock.patch.object(page.names["resource"], "getrlimit", return_value=(1024, 65_536)),
        pytest.raises(SystemExit, match="only 1024 open files"),
    ):
        page.names["check_descriptors"]()


async def test_sockets_are_frozen_again_and_again(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran(MANY) as page:
        page.names["gc"] = collector = mock.Mock()
        with trio.move_on_after(1300):
            await page.names["freeze_now_and_then"]()
    once = [mock.call.unfreeze(), mock.call.collect(), mock.call.freeze()]
    assert collector.mock_calls == once * 2


@pytest.mark.parametrize(
    "words",
    [
        "cannot listen on",
        "WebSocketHandler expects",
        "request refused",
        "handshake refused",
        "fetch returned None",
        "upgrade needs a WebSocket handler",
        "Server closed",
        "a handler failed",
        "WebSocket timed out from inactivity",
        "cannot accept connections, trying again",
        "the end of the server would wait for this handler",
    ],
)
def test_a_message_that_is_explained_is_one_of_the_library(words: str) -> None:
    assert words in text_of("troubleshooting.md")
    assert any(words in path.read_text("utf-8") for path in (ROOT / "trio_bunws").rglob("*.py"))


def test_every_close_code_of_a_peer_is_explained() -> None:
    page = text_of("troubleshooting.md")
    explained = {int(code) for code in re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE)}
    assert explained == {1000, 1001, 1002, 1005, 1006, 1007, 1008, 1009, 1011}
