# python examples/presence.py [port]    and open http://127.0.0.1:3000/#garden in two windows
"""Who is in a room, where they point, and who is away: presence that nobody has to switch off.

A room is a topic, and the server's list of its subscribers is the only list of people: no second one could differ from
it. A browser that is closed leaves at once; one that vanishes without a word is gone after `idle_timeout`, for it no
longer answers pings. Pointers are sent on as they come; lists are sent whole, so that a page never has to add up.

    GET /presence?room=garden&name=Ada     the WebSocket; then from a page
    {"x": 0.5, "y": 0.25}                  where it points, in parts of the width and height
    {"away": true}                         nobody looks at it; and to a page
    {"you": 3}                             at first
    {"people": [{"id": 3, "name": "Ada", "away": false}, ...]}         at each change
    {"id": 4, "x": 0.5, "y": 0.25}                                     somebody else's pointer
"""

from __future__ import annotations

import argparse
import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

MAX_PEOPLE = 50  # in one room: whoever comes is told to all, so a room costs the square of it
PAGE = Path(__file__).with_name("presence.html")


@attrs.define(eq=False)
class Person:
    """Somebody in a room, in one window."""

    server: Server[Person]
    name: str
    topic: str
    id: int = attrs.field(factory=itertools.count(1).__next__)
    away: bool = False


Socket: TypeAlias = ServerWebSocket[Person]


def fetch(request: Request, server: Server[Person]) -> Response | None:
    """Answer with the page, or let somebody into a room."""
    if request.path == "/":
        return Response.file(PAGE)
    if request.path != "/presence":
        return Response("Nothing here.\n", 404)
    name, room = (" ".join(request.query.get(key, "").split())[:24] for key in ("name", "room"))
    if not (name.isprintable() and name and room):
        return Response("A name and a room, please.\n", 422)
    topic = f"room/{room.lower()}"
    if server.subscriber_count(topic) >= MAX_PEOPLE:
        return Response("The room is full.\n", 503)
    if server.upgrade(request, data=Person(server, name, topic)):
        return None
    return Response("Only WebSockets here.\n", 426, {"Upgrade": "websocket"})


def opened(ws: Socket) -> None:
    """Enter the room."""
    ws.send_text(json.dumps({"you": ws.data.id}))
    ws.subscribe(ws.data.topic)
    tell_who_is_here(ws.data)


def text(ws: Socket, text: str) -> None:
    """Send on where somebody points, or that they are away; whatever else a page says has no meaning here."""
    person = ws.data
    match json.loads(text):
        case {"x": float() | int() as x, "y": float() | int() as y}:
            ws.publish_text(person.topic, json.dumps({"id": person.id, "x": x, "y": y}))
        case {"away": bool(away)} if away != person.away:
            person.away = away
            tell_who_is_here(person)


def closed(ws: Socket, _code: int, _reason: str) -> None:
    """Tell those who stay; the socket itself has left its topic already."""
    tell_who_is_here(ws.data)


def tell_who_is_here(person: Person) -> None:
    """Send everybody in a room the list of all."""
    everybody = [ws.data for ws in person.server.subscribers(person.topic)]
    people = [{"id": one.id, "name": one.name, "away": one.away} for one in everybody]
    person.server.publish(person.topic, json.dumps({"people": people}))


def failed(exc: Exception, ws: Socket) -> None:
    """Close on who sends no JSON; anything else is our mistake, and is raised to be logged."""
    if not isinstance(exc, ValueError | RecursionError):
        raise exc
    ws.close(1007, "only JSON here")


PRESENCE = WebSocketHandler[Person](
    open=opened,
    text=text,
    close=closed,
    error=failed,
    idle_timeout=20,  # seconds; pings are sent before, and every browser answers them
    max_payload_length=256,
    backpressure_limit=64 * 1024,
    close_on_backpressure_limit=True,  # who has missed a list comes back, and gets a new one
)


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    async with open_server(fetch, PRESENCE, port=port) as server:
        print(f"Presence at {server.url}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port)
