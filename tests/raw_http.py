"""Requests, handshakes and their answers as bytes, for the behaviour tests of upgrades and HTTP.

Sent by a `RawPeer`; what must be in an answer is said in the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_bunws import Request, Response, Server

if TYPE_CHECKING:
    from trio_bunws.testing import RawPeer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455, section 1.3: the answer to `RawPeer.request`'s key."""
LINES = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def handshake(*more: str, start: str = "GET / HTTP/1.1", **changed: str | None) -> bytes:
    """Return a handshake with these lines more, and others changed, or left out by None (`_` stands for `-`)."""
    names = {name.replace("-", "_"): name for name in LINES}
    lines = LINES | {names[key]: value for key, value in changed.items()}
    fields = [f"{name}: {value}" for name, value in lines.items() if value is not None]
    return "\r\n".join([start, *fields, *more, "", ""]).encode("latin-1")


class Answer:
    """A response as it came."""

    def __init__(self, head: bytes) -> None:
        status, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.status = int(status.split(" ")[1])
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.body = b""

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.fields)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


async def answer(peer: RawPeer, *, head_only: bool = False) -> Answer:
    """Receive one response: its head, and a body that has a length."""
    found = Answer(await peer.receive_until(b"\r\n\r\n"))
    if found.status >= 200 and not head_only and "content-length" in found:
        found.body = await peer.receive_exactly(int(found["content-length"]))
    return found


async def ask(peer: RawPeer, request: bytes) -> Answer:
    """Send a request, and receive the response."""
    await peer.send(request)
    return await answer(peer)


def upgrading(request: Request, server: Server[Any]) -> Response | None:
    """Be a `fetch` that upgrades what can be, and says so of the rest."""
    return None if server.upgrade(request) else Response("no handshake")
