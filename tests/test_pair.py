"""`trio_bunws.testing.open_pair`, and the example of docs/testing.md, which is run here as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trio_bunws import HandshakeError, Request, Response, Server, ServerWebSocket, WebSocketHandler
from trio_bunws.testing import open_pair

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "testing.md"


def echo(ws: ServerWebSocket, message: str | bytes) -> None:
    ws.send(message)


async def test_a_server_and_its_client() -> None:
    async with open_pair(WebSocketHandler(message=echo)) as (server, client):
        client.send("hello")
        assert await client.receive() == "hello"
        assert server.pending_websockets == 1
    assert server.pending_websockets == 0
    assert client.ready_state.name == "CLOSED"


async def test_fetch_sees_what_the_client_asks_for() -> None:
    def fetch(request: Request, server: Server[str]) -> Response | None:
        if server.upgrade(request, data=request.path, protocol="chat"):
            return None
        return Response("no", 400)

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.send(f"{ws.data} {ws.request.headers['x-name']}")

    handler: WebSocketHandler[str] = WebSocketHandler(open=opened)
    pair = open_pair(handler, fetch, url="ws://here/room", protocols="chat", headers={"X-Name": "me"})
    async with pair as (_, client):
        assert await client.receive() == "/room me"
        assert client.protocol == "chat"


async def test_a_pair_needs_no_arguments() -> None:
    async with open_pair() as (server, client):
        assert (server.pending_websockets, client.ready_state.name) == (1, "OPEN")


@pytest.mark.parametrize("handler_first", [True, False])
async def test_handler_and_fetch_come_in_either_order(handler_first: bool) -> None:
    def fetch(request: Request, server: Server[str]) -> Response | None:
        return None if server.upgrade(request, data="known") else Response("no", 400)

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.send(ws.data)

    handler = WebSocketHandler(open=opened)
    async with open_pair(handler, fetch) if handler_first else open_pair(fetch, handler) as (_, client):
        assert await client.receive() == "known"


async def test_the_order_of_serve_may_leave_out_either() -> None:
    async with open_pair(None, WebSocketHandler(message=echo)) as (_, client):
        client.send("hello")
        assert await client.receive() == "hello"
    with pytest.raises(HandshakeError, match="418"):
        async with open_pair(lambda *_: Response("tea", 418)):
            pass


async def test_two_handlers_are_refused() -> None:
    with pytest.raises(TypeError, match="serve expects fetch to be a function"):
        async with open_pair(WebSocketHandler(), WebSocketHandler()):  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
            pass


async def test_a_refusal_is_raised() -> None:
    with pytest.raises(HandshakeError, match="418"):
        async with open_pair(None, lambda *_: Response("tea", 418)):
            pass


def test_the_example_of_the_page_passes_as_it_stands_there(tmp_path: Path) -> None:
    application, test = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    body = test.partition("async def ")[2].splitlines()
    assert len(body) <= 15
    (tmp_path / "chat.py").write_text(application)
    (tmp_path / "test_chat.py").write_text(test)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "test_chat.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout
