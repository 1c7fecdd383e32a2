"""What the code of docs/observability.md does: each example is used as it stands there, with a server in memory."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from pages import ran
from playground import playground

from trio_bunws import ServerWebSocket, WebSocketHandler

if TYPE_CHECKING:
    import pytest

PAGE = "observability.md"


async def test_records_become_lines_of_json_with_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_ws: ServerWebSocket, _message: object) -> None:
        raise RuntimeError("what went wrong")

    logger = logging.getLogger("trio_bunws")
    before = logger.handlers[:]
    with ran(PAGE, 0) as page:
        page.names["log_to_stderr"]()
    try:
        async with playground(WebSocketHandler(message=broken)) as ground:
            peer = await ground.open("/chat?token=hunter2")
            await peer.send_text("x")
            code, _ = await peer.receive_close()
            await peer.send_close(code)
            await peer.receive_eof()
    finally:
        logger.handlers = before
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("at") > 0
    assert "RuntimeError: what went wrong" in told.pop("traceback")
    assert told == {
        "level": "ERROR",
        "logger": "trio_bunws.websocket",
        "message": "a handler failed; closing the socket with 1011",
        "peer": None,
        "method": "GET",
        "path": "/chat",
        "close_code": 1011,
    }


async def test_the_metrics_are_mounted() -> None:
    with ran(PAGE, 1) as page:
        async with playground(WebSocketHandler(), page.names["fetch"]) as ground:
            peer = await ground.connect()
            await peer.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await peer.receive_until(b"\ntrio_bunws_websockets 0.0\n")
            await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await peer.receive_until(b"HTTP/1.1 426 ")


async def test_the_traced_server_answers_as_it_would_untraced() -> None:
    with ran(PAGE, 2) as page:
        async with playground(page.names["traced_handler"], page.names["traced_answer"]) as ground:
            peer = await ground.open()
            await peer.send_text("hello")
            assert await peer.receive_text() == "hello"
            await peer.send_close(1000)
            assert await peer.receive_close() == (1000, "")
            await peer.receive_eof()
