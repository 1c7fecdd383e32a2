"""Our server with other people's clients that send everything back: websockets, trio-websocket, `ws`, Bun, Chromium.

The programs are the echo clients of tests/interop/, and Chromium runs a page that does the same but for pings, which
browsers cannot send. What the chat's clients show is in `test_interop_clients.py`, compression in its own file.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from chromium import need_chromium, running_chromium
from interop.chat import running_client
from interop.programs import bun_program, node_program, python_program
from patience import PATIENCE

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws._close import CloseFrame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

LONGEST = 16 * 1024 * 1024  # bytes: the longest message that our server takes by itself
PROGRAMS: Mapping[str, Callable[[], list[str]]] = {
    "websockets": partial(python_program, "websockets_echo", "client"),
    "trio-websocket": partial(python_program, "trio_websocket_echo_client"),
    "ws": partial(node_program, "ws", "echo_client"),
    "bun": partial(bun_program, "echo_client"),
}
PAGE = """
(url) => new Promise((resolve) => {
  const socket = new WebSocket(url, ["v1", "v2"]);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    const [order, first, ...rest] = typeof data === "string" ? data.split(" ", 9) : [];
    if (order === "/close") socket.close(Number(first), rest.join(" "));
    else socket.send(data);
  };
  socket.onclose = ({ code, reason }) => resolve([socket.protocol, code, reason]);
})
"""


def browse(url: str) -> tuple[str, int, str]:
    """Let a page converse, and return the subprotocol that it saw, and code and reason of the close."""
    with running_chromium() as browser:
        protocol, code, reason = browser.new_page().evaluate(PAGE, url)
    return protocol, code, reason


class Meeting:
    """A client at a server of ours; see `meeting`."""

    def __init__(self) -> None:
        self._told, self._heard = trio.open_memory_channel[object](10)
        self.saw: tuple[str, int, str] | None = None
        """The subprotocol, and code and reason of the close, as the client told them in the end."""

    def fetch(self, request: Request, server: Server[None]) -> Response | None:
        """Choose the second of what is offered."""
        assert request.headers["sec-websocket-protocol"].replace(" ", "") == "v1,v2"
        assert server.upgrade(request, protocol="v2")
        return None

    def handler(self) -> WebSocketHandler[None]:
        """Return what tells this of everything."""
        tell = self._told.send_nowait
        return WebSocketHandler(
            open=tell,
            message=lambda _, message: tell(message),
            ping=lambda _, data: tell(("ping", data)),
            pong=lambda _, data: tell(("pong", data)),
            close=lambda _, code, reason: tell(("close", code, reason)),
        )

    async def heard(self) -> object:
        """Return what our server was told next."""
        return await self._heard.receive()

    async def socket(self) -> ServerWebSocket[None]:
        """Return the connection, which nothing comes before."""
        ws = await self.heard()
        assert isinstance(ws, ServerWebSocket)
        return ws

    async def run_page(self, url: str) -> None:
        """Be Chromium."""
        self.saw = await trio.to_thread.run_sync(browse, url)

    async def run_program(self, command: list[str], url: str) -> None:
        """Be a client program."""
        async with running_client(command, url) as client:
            protocol = await client.hear_line()
            self.saw = (protocol, *await client.told())


@pytest.fixture(name="command", params=[*PROGRAMS, "chromium"])
def client_command(request: pytest.FixtureRequest) -> list[str] | None:
    """Return a client program's command, or None for Chromium, or skip the test."""
    if request.param != "chromium":
        return PROGRAMS[request.param]()
    need_chromium()
    return None


@asynccontextmanager
async def meeting(command: list[str] | None) -> AsyncGenerator[Meeting]:
    """Let a client meet our server; at the end of the block it must have been told to close, and is waited for."""
    met = Meeting()
    run = met.run_page if command is None else partial(met.run_program, command)
    with trio.fail_after(PATIENCE):
        async with open_server(met.fetch, met.handler(), port=0) as server, trio.open_nursery() as nursery:
            nursery.start_soon(run, f"ws://127.0.0.1:{server.port}/")
            yield met


async def test_a_client_gets_its_subprotocol_long_messages_pings_and_our_close(command: list[str] | None) -> None:
    async with meeting(command) as met:
        ws = await met.socket()
        assert ws.protocol == "v2"
        for message in ("", b"\x00\xff", "x" * LONGEST):
            ws.send(message)
            assert await met.heard() == message
        ws.ping("are you there")
        assert await met.heard() == ("pong", b"are you there")
        ws.close(4000, "so long")
        assert await met.heard() == ("close", 4000, "so long")
    assert met.saw == ("v2", 4000, "so long")
    assert (await ws.closed()).received == CloseFrame(4000, "so long")


async def test_a_client_pings_and_closes_us(command: list[str] | None) -> None:
    async with meeting(command) as met:
        ws = await met.socket()
        if command is not None:
            ws.send("/ping and-you")
            assert await met.heard() == ("ping", b"and-you")
            assert await met.heard() == "/pong and-you"
        ws.send("/close 4001 so long")
        assert await met.heard() == ("close", 4001, "so long")
    assert met.saw == ("v2", 4001, "so long")
    assert (await ws.closed()).received == CloseFrame(4001, "so long")
