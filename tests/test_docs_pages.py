"""What the code of the shorter pages of docs/ does: each example is run as it stands there, and behaves as told."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pages import ROOT, ran, text_of

from trio_bunws import WebSocket, open_server, serve
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock


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
