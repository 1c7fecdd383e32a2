# python examples/notifications.py [port]    and open http://127.0.0.1:3000/ in a browser
r"""A notification feed: what one program POSTs appears on the pages of those whom it concerns, in all their windows.

Two kinds of clients prove themselves in two ways. Programs publish with a bearer token. Pages have a cookie, signed by
this server; browsers send it with every handshake, whosever page asks, so the page's origin is checked as well.

    POST /login      {"name": "ada"}                     sets the cookie; here your passwords would be checked
    POST /publish    {"title", "text", "to": "ada"}      without "to" it is for everybody; 202 tells how many are there
    GET  /feed       the WebSocket: {"id": 7, "title", "text", "at"}; ?after=6 begins with those that were missed

With the token that is printed at the start (or is in the environment: TOKEN), one publishes from a terminal:

    curl http://127.0.0.1:3000/publish -H "Authorization: Bearer $TOKEN" \
        -d '{"to": "ada", "title": "Build 42", "text": "It is green."}'
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import secrets
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_bunws import Origins, Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

KEPT = 100  # notifications, for those who come back
MAX_BODY = 4096  # bytes
PAGE = Path(__file__).with_name("notifications.html")


@attrs.frozen
class Reader:
    """Whose socket it is, and the last notification that they have seen."""

    name: str
    after: int


@attrs.frozen
class Notification:
    """One notification, as it goes on the wire; `to` is a name, or "" for everybody."""

    id: int
    to: str
    text: str


Socket: TypeAlias = ServerWebSocket[Reader]


class Refused(Exception):
    """The request is refused, with this status."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.response = Response(f"{why}\n", status, headers)


class Feed:
    """The notifications, and who may publish and read them."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.key = secrets.token_bytes(32)  # cookies are worth nothing after a restart
        self.kept = deque[Notification](maxlen=KEPT)
        self.count = 0
        self.websocket = WebSocketHandler[Reader](
            open=self.opened,
            max_payload_length=1,  # pages have nothing to say
            backpressure_limit=256 * 1024,
            close_on_backpressure_limit=True,  # the page comes back, and asks for what it has missed
        )

    async def fetch(self, request: Request, server: Server[Reader]) -> Response | None:
        """Answer a request, or make it a WebSocket; `refused` answers for what is raised."""
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                return Response.file(PAGE)
            case "POST", "/login":
                check_origin(request, server)
                return self.login(await said(request))
            case "POST", "/publish":
                self.check_token(request)
                return self.publish(await said(request), server)
            case "GET", "/feed":
                check_origin(request, server)
                reader = Reader(self.user(request), number(request.query.get("after", "0")))
                if server.upgrade(request, data=reader):
                    return None
                raise Refused(426, "Only WebSockets here.", {"Upgrade": "websocket"})
        raise Refused(404, "Nothing here.")

    def opened(self, ws: Socket) -> None:
        """Send what was missed, and from now on whatever comes; nothing is awaited, so nothing gets lost in between."""
        for one in self.kept:
            if one.id > ws.data.after and one.to in {"", ws.data.name}:
                ws.send_text(one.text)
        ws.subscribe("to:")
        ws.subscribe(f"to:{ws.data.name}")

    def login(self, body: object) -> Response:
        """Give somebody a cookie."""
        match body:
            case {"name": str(name)} if re.fullmatch(r"[a-z][a-z0-9-]{0,23}", name):
                cookie = f"session={name}.{self.signature(name)}; Path=/; HttpOnly; SameSite=Strict"
                return Response(None, 204, {"Set-Cookie": cookie})
        raise Refused(422, "A name is 1 to 24 small letters, digits and hyphens, and begins with a letter.")

    def publish(self, body: object, server: Server[Reader]) -> Response:
        """Send a notification to whom it concerns."""
        match body:
            case {"title": str(title), "text": str(text), **rest} if title and set(rest) <= {"to"}:
                to = str(rest.get("to", ""))
            case _:
                raise Refused(422, 'Expected {"title": "...", "text": "..."}, and perhaps "to": "...".')
        self.count += 1
        event = {"id": self.count, "title": title, "text": text, "personal": bool(to), "at": time.time()}
        one = Notification(self.count, to, json.dumps(event))
        self.kept.append(one)
        server.publish(f"to:{to}", one.text)
        return Response.json({"id": one.id, "readers": server.subscriber_count(f"to:{to}")}, 202)

    def check_token(self, request: Request) -> None:
        """Refuse who is no publisher; how long that takes says nothing about the token."""
        given = request.headers.get("authorization") or ""
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise Refused(401, "Publishing needs the token.", {"WWW-Authenticate": "Bearer"})

    def user(self, request: Request) -> str:
        """Return whose cookie it is."""
        name, _, signature = request.cookies.get("session", "").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self.signature(name).encode()):
            raise Refused(401, "Log in first.")
        return name

    def signature(self, name: str) -> str:
        """Sign a name."""
        return hmac.digest(self.key, name.encode(), "sha256").hex()


def refused(exc: Exception) -> Response | None:
    """Answer for a `Refused`; None: anything else is logged, and a plain 500."""
    return exc.response if isinstance(exc, Refused) else None


def check_origin(request: Request, server: Server[Reader]) -> None:
    """Refuse what a page that is not ours asks for in its visitor's name."""
    if not Origins(f"http://127.0.0.1:{server.port}", f"http://localhost:{server.port}").check(request):
        raise Refused(403, "Not from that page.")


async def said(request: Request) -> object:
    """Read the JSON of a request."""
    try:
        return await request.json()
    except ValueError:
        raise Refused(400, "The body is no JSON.") from None


def number(value: str) -> int:
    """Read the number of a notification; what is none is 0."""
    return int(value) if re.fullmatch("[0-9]{1,15}", value) else 0


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    feed = Feed(os.environ.get("TOKEN") or secrets.token_urlsafe(16))
    async with open_server(
        feed.fetch, feed.websocket, error=refused, port=port, max_request_body_size=MAX_BODY
    ) as server:
        print(f"Notifications at {server.url} ; publish with TOKEN={feed.token}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port)
