# python examples/chat/server.py [--host 127.0.0.1] [--port 3000] [--origin https://chat.example ...]
"""A chat with names, rooms and a web page, served by one process, or by several that share a Redis.

This file holds the server and nothing of the page, which is the plain files in page/. Ctrl-C or SIGTERM ends it: it
takes no more connections, sends what it has accepted, and closes with 1001; whoever does not read has two seconds.

On two processes, in this folder, with a Redis there:

    trio-bunws serve server:APP --workers 2 --broker redis://127.0.0.1:6379

Rooms then are one, and so are the counts. But a process knows the names of its own members only, and hears nothing of
what others publish: their sockets do. So one page of each other process has its server introduce who is there.

The socket is at /chat. Every message is one JSON object, and its "type" says which. A client sends

    {"type": "join", "name": "Ada", "room": "lobby"}    enter a room, or change it; any name makes a room
    {"type": "say", "text": "Hello!"}                   to everyone in the room, oneself included
    {"type": "here"}                                    tell a newcomer of another process who is in this one
    {"type": "ping"}                                    pages cannot see WebSocket pings; the answer is a "pong"

and the server

    {"type": "rooms", "rooms": {"lobby": 2, "attic": null}}     members by room: at first, and what changes; null: gone
    {"type": "welcome", "id": 7, "name": "Ada", "room": "lobby", "count": 2, "members": [{"id": 7, "name": "Ada"}]}
    {"type": "joined", "id": 9, "name": "Grace", "count": 2}            to the others; count is the members now
    {"type": "here", "members": [{"id": 7, "name": "Ada"}]}             some who are in the room, to all
    {"type": "left", "id": 9, "name": "Grace", "count": 1}
    {"type": "said", "id": 9, "name": "Grace", "text": "Hi", "at": 1789000000.5}    at: seconds since 1970
    {"type": "error", "about": "say", "message": "Join a room first."}  about: the type refused, or null
    {"type": "pong"}

There are no accounts: two people may use one name, and their ids tell them apart; those of one process are the same
divided by 2 ** 32. Nothing is stored. Any program may open the socket, but of all pages only this one, from where the
server listens or an --origin (its name behind a proxy, say).
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import signal
import time
import unicodedata
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_bunws import Limits, Origins, Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

ROOMS = ("lobby", "garden", "workshop")  # always shown; any other room lives as long as somebody is in it
ROOMS_SHOWN = 50
MEMBERS_SHOWN = 100
MAX_NAME = 24  # characters, of people and of rooms
MAX_TEXT = 1000  # characters of one message
BURST = 20  # messages a client may send at once ...
PACE = 0.25  # ... and the seconds it then waits for each further one

IDS = itertools.count(secrets.randbelow(2**20) << 32)  # of this process, and still whole numbers to JavaScript
BOARD = "rooms"  # the topic that everybody hears: which rooms there are, and how full
PAGE = Path(__file__).with_name("page")
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@attrs.define(eq=False)
class Member:
    """What the server knows of one socket: its `ws.data`."""

    server: Server[Member]
    id: int = attrs.field(factory=IDS.__next__)
    name: str = ""
    room: str = ""  # "" until the first join
    paid_until: float = 0.0  # trio's clock: every message moves it on by PACE


Socket: TypeAlias = ServerWebSocket[Member]


class Refused(Exception):
    """A client asked for what cannot be done; the words are for the person who reads them on the page."""


def fetch(elsewhere: tuple[str, ...], request: Request, server: Server[Member]) -> Response | None:
    """Answer an HTTP request: the socket's address becomes a WebSocket, the others are the page."""
    if request.path == "/chat":
        if not page_origins(server, elsewhere).check(request):
            return Response("Not from that page.\n", 403)
        if server.upgrade(request, data=Member(server)):
            return None
        return Response("Only WebSockets here.\n", 426, {"Upgrade": "websocket"})
    response = Response.file(request.path.lstrip("/") or "index.html", root=PAGE)
    for name, value in HEADERS.items():
        response.headers.set(name, value)
    return response


@cache
def page_origins(server: Server[Member], elsewhere: tuple[str, ...]) -> Origins:
    """List where our page may come from; what other pages ask for in their visitors' names is refused."""
    return Origins(server.url.rstrip("/"), f"http://localhost:{server.port}", *elsewhere)


async def opened(ws: Socket) -> None:
    """Show the rooms to somebody who is at the door."""
    server = ws.data.server
    ws.subscribe(BOARD)
    here = {topic[5:]: server.subscriber_count(topic) for topic in server.topics() if topic.startswith("room/")}
    fullest = sorted(here.keys() - {*ROOMS}, key=lambda room: (-here[room], room))[:ROOMS_SHOWN]
    tell(ws, type="rooms", rooms=await counts(server, [*ROOMS, *fullest]))


async def message(ws: Socket, message: str | bytes) -> None:
    """Do what a client asks, or say politely why not; whatever it sends, nobody else is disturbed."""
    about = None
    try:
        match parse(message):
            case {"type": "join" as about, "name": str(name), "room": str(room)}:
                pay(ws.data)
                await join(ws, one_line("name", name), one_line("room name", room).lower())
            case {"type": "say" as about, "text": str(text)}:
                pay(ws.data)
                say(ws, text)
            case {"type": "here" as about}:
                pay(ws.data)
                introduce(ws)
            case {"type": "ping"}:
                tell(ws, type="pong")
            case _:
                tell(ws, type="error", about=None, message="This server does not understand that message.")
    except Refused as refusal:
        tell(ws, type="error", about=about, message=str(refusal))


async def closed(ws: Socket, _code: int, _reason: str) -> None:
    """Tell the room that somebody has gone."""
    await leave(ws)


async def join(ws: Socket, name: str, room: str) -> None:
    """Enter a room, and so leave the one before."""
    await leave(ws)
    member, topic = ws.data, f"room/{room}"
    member.name, member.room = name, room
    ws.subscribe(topic)
    count = await member.server.subscriber_count_everywhere(topic)
    tell(ws, type="welcome", id=member.id, name=name, room=room, count=count, members=members(member.server, topic))
    ws.publish(topic, encode(type="joined", id=member.id, name=name, count=count))
    member.server.publish(BOARD, encode(type="rooms", rooms={room: count}))


async def leave(ws: Socket) -> None:
    """Leave the room, if in one; those who stay hear of it."""
    member, room, topic = ws.data, ws.data.room, f"room/{ws.data.room}"
    if not room:
        return
    member.room = ""
    ws.unsubscribe(topic)  # a socket that closed has left its topics by itself
    count = await member.server.subscriber_count_everywhere(topic)
    member.server.publish(topic, encode(type="left", id=member.id, name=member.name, count=count))
    gone = count == 0 and room not in ROOMS
    member.server.publish(BOARD, encode(type="rooms", rooms={room: None if gone else count}))


def introduce(ws: Socket) -> None:
    """Tell the room who is in it and in this process, for those who joined in another."""
    member, topic = ws.data, f"room/{ws.data.room}"
    if member.room:
        member.server.publish(topic, encode(type="here", members=members(member.server, topic)))


def members(server: Server[Member], topic: str) -> list[dict[str, object]]:
    """List those of a room who are in this process; a page shows no more than a hundred."""
    here = server.subscribers(topic)[-MEMBERS_SHOWN:]
    return [{"id": other.data.id, "name": other.data.name} for other in here]


async def counts(server: Server[Member], rooms: list[str]) -> dict[str, int]:
    """Count the members of these rooms, in all processes."""
    found = dict.fromkeys(rooms, 0)

    async def count(room: str) -> None:
        found[room] = await server.subscriber_count_everywhere(f"room/{room}")

    async with trio.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(count, room)
    return found


def say(ws: Socket, text: str) -> None:
    """Send a message round to everybody in the room, its author too: so all see one order."""
    member = ws.data
    if not member.room:
        raise Refused("Join a room first.")
    text = clean("message", text, MAX_TEXT)
    said = encode(type="said", id=member.id, name=member.name, text=text, at=time.time())
    member.server.publish(f"room/{member.room}", said)


def tell(ws: Socket, **event: object) -> None:
    """Send an event to one client."""
    ws.send_text(encode(**event))


def encode(**event: object) -> str:
    """Write an event as the protocol has it."""
    return json.dumps(event)


def parse(message: str | bytes) -> object:
    """Read the JSON of a client."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):  # thousands of brackets are no JSON to us either
        raise Refused("This server understands only JSON.") from None


def pay(member: Member) -> None:
    """Charge for a message that others will hear, so that one client cannot drown a room."""
    now = trio.current_time()
    if member.paid_until > now + BURST * PACE:
        raise Refused("That was too fast. Please wait a moment.")
    member.paid_until = max(member.paid_until, now) + PACE


def one_line(what: str, value: str) -> str:
    """Return a name as it will be shown."""
    return clean(what, " ".join(value.split()), MAX_NAME)


def clean(what: str, value: str, limit: int) -> str:
    """Drop control characters and unpaired surrogates; refuse what is then invisible or over the limit."""
    value = "".join(c for c in value if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"}).strip()
    if len(value) > limit:
        raise Refused(f"The {what} is too long: at most {limit} characters.")
    if not any(unicodedata.category(c)[0] in "LNPS" for c in value):
        raise Refused(f"The {what} is empty.")
    return value


CHAT = WebSocketHandler[Member](
    open=opened,
    message=message,
    close=closed,
    max_payload_length=16 * 1024,  # bytes: MAX_TEXT characters at their longest in JSON, and some room
    backpressure_limit=1024 * 1024,
    close_on_backpressure_limit=True,  # the page comes back by itself, which is better than a room with holes
    idle_timeout=30,
)


APP = partial(fetch, ()), CHAT


async def main(host: str, port: int, elsewhere: tuple[str, ...]) -> None:
    """Serve until the terminal or the system asks for the end; then everybody gets a Close and two seconds."""
    answer = partial(fetch, elsewhere)
    async with open_server(answer, CHAT, hostname=host, port=port, limits=Limits(max_connections=1000)) as server:
        page_origins(server, elsewhere)  # a mistake in one is told now
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            print(f"The chat is at {server.url}", flush=True)
            async for _ in signals:
                break
        await server.stop(grace=2.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat with rooms and a web page.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=3000, type=int, help="0 picks a free one (default: %(default)s)")
    where = "where else the page may come from, as https://chat.example; may be given several times"
    parser.add_argument("--origin", default=[], action="append", help=where)
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    trio.run(main, arguments.host, arguments.port, tuple(arguments.origin))
