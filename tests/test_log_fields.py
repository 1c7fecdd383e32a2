"""The fields of log records: what they are called, and that no secret is among them.

The last test looks at the records of a whole server; which one is logged when is each module's test.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from playground import playground

from trio_bunws import Request, ServerWebSocket, SocketAddress, WebSocketHandler
from trio_bunws._log_fields import of_peer, of_request

if TYPE_CHECKING:
    from trio.testing import MockClock

FIELDS = {"peer", "method", "path", "status", "close_code", "attempt"}
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("remote", "peer"),
    [
        (SocketAddress("192.0.2.7", "IPv4", 50123), "192.0.2.7:50123"),
        (SocketAddress("2001:db8::1", "IPv6", 80), "[2001:db8::1]:80"),
        (None, None),
    ],
)
def test_a_peer_is_told_by_address_and_port(remote: SocketAddress | None, peer: str | None) -> None:
    assert of_peer(remote, status=400) == {"peer": peer, "status": 400}


def test_of_a_request_there_are_method_and_path() -> None:
    remote = SocketAddress("192.0.2.7", "IPv4", 50123)
    request = Request(b"GET /a%20b?token=hunter2 HTTP/1.1\r\nHost: x\r\nCookie: c=hunter2\r\n\r\n", remote=remote)
    assert of_request(request, close_code=1011) == {
        "peer": "192.0.2.7:50123",
        "method": "GET",
        "path": "/a%20b",
        "close_code": 1011,
    }


def test_a_path_cannot_begin_a_line_of_its_own() -> None:
    request = Request(b"GET /%0d%0aERROR:%1b[2J HTTP/1.1\r\nHost: x\r\n\r\n")
    assert request.path == "/\r\nERROR:\x1b[2J"
    assert of_request(request)["path"] == "/%0d%0aERROR:%1b[2J"


def test_the_fields_are_none_that_a_record_has_already() -> None:
    assert set() == FIELDS & STANDARD


def message(_ws: ServerWebSocket, _message: str | bytes) -> None:
    raise RuntimeError("broken")


async def test_no_record_of_a_server_has_a_secret_of_a_request(
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,  # noqa: ARG001 - no wait takes time
) -> None:
    caplog.set_level(logging.DEBUG, "trio_bunws")
    secrets = (("Authorization", f"Bearer {SECRET}"), ("Cookie", f"session={SECRET}"))
    async with playground(WebSocketHandler(message=message)) as ground:
        peer = await ground.open(f"/chat?token={SECRET}", secrets)
        await peer.send_text(SECRET)
        assert (await peer.receive()).close[0] == 1011
        await peer.send_close(1011)
        await peer.receive_eof()
    async with playground(fetch=lambda _request, _server: None) as ground:
        plain = await ground.connect()
        await plain.send(f"GET /page?token={SECRET} HTTP/1.1\r\nHost: x\r\nCookie: {SECRET}\r\n\r\n".encode())
        await plain.receive_until(b"500")
        broken = await ground.connect()
        await broken.send(f"GET /?{SECRET} HTTP/1.1\r\nHost: x\r\nCookie {SECRET}\r\n\r\n".encode())
        await broken.receive_until(b"400")
    told = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert [level for level, _ in told] == ["DEBUG", "ERROR", "DEBUG", "ERROR", "INFO"], told
    for record in caplog.records:
        fields = {name: value for name, value in vars(record).items() if name not in STANDARD}
        assert record.name.startswith("trio_bunws.")
        assert fields.keys() <= FIELDS
        assert "peer" in fields
        assert SECRET not in record.getMessage() + str(fields)
    assert [vars(record).get("close_code") for record in caplog.records[:3]] == [None, 1011, 1011]
    assert [vars(record).get("path") for record in caplog.records] == ["/chat", "/chat", "/chat", "/page", None]
