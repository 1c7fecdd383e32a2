"""trio_bunws as the target of `observability.py`: an echo server or a room, with more or less that looks at it.

Started with `echo HOW` or `chat CLIENTS HOW`; prints its port. HOW is `without` (neither library can be imported, as
where they are not installed), `imported` (they are there, and not used), `metrics` (it is scraped once a second) or
`traced` (every handler is a span that is recorded and goes nowhere).
"""

from __future__ import annotations

import sys
from functools import partial

import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, serve

LIBRARIES = ("prometheus_client", "opentelemetry")
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def answer(request: Request, server: Server[str]) -> Response | None:
    if server.upgrade(request, data=request.query.get("name", "guest")):
        return None
    return Response("WebSockets only", status=400)


def answer_with_metrics(request: Request, server: Server[str]) -> Response | None:
    from trio_bunws.observability import metrics_response  # noqa: PLC0415 - only where it is looked at

    return metrics_response(request, server) if request.path == "/metrics" else answer(request, server)


def echo() -> WebSocketHandler[str]:
    def message(ws: ServerWebSocket[str], message: str | bytes) -> None:
        ws.send(message)

    return WebSocketHandler(message=message)


def room(clients: int) -> WebSocketHandler[str]:
    missing = clients

    def opened(ws: ServerWebSocket[str]) -> None:
        nonlocal missing
        ws.subscribe("room")
        missing -= 1
        if missing == 0:
            ws.publish_text("room", "ready")

    def message(ws: ServerWebSocket[str], text: str) -> None:
        if ws.publish_text("room", f"{ws.data}: {text}") == 0:
            raise RuntimeError("a message was dropped")

    return WebSocketHandler(open=opened, text=message, publish_to_self=True)


def traced_handler(handler: WebSocketHandler[str]) -> WebSocketHandler[str]:
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    from trio_bunws.observability import traced  # noqa: PLC0415 - as above

    return traced(handler, tracer_provider=TracerProvider())


async def scrape(port: int) -> None:
    """Be Prometheus, once a second."""
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(SCRAPE)
            answered = b"".join([bytes(part) async for part in stream])
        if b"trio_bunws_messages_received_total" not in answered:
            raise RuntimeError(f"no metrics: {answered[:200]!r}")
        await trio.sleep(1)


async def main() -> None:
    *what, how = sys.argv[1:]
    handler = echo() if what == ["echo"] else room(int(what[1]))
    if how == "without":
        sys.modules.update(dict.fromkeys((*LIBRARIES, "trio_bunws.observability")))  # type: ignore[arg-type]  # None: no
    else:
        for library in (*LIBRARIES, "trio_bunws.observability"):
            __import__(library)
    if how == "traced":
        handler = traced_handler(handler)
    fetch = answer_with_metrics if how == "metrics" else answer
    async with trio.open_nursery() as nursery:
        server: Server[str] = await nursery.start(partial(serve, fetch, handler, port=0))
        if how == "metrics":
            assert server.port is not None
            nursery.start_soon(scrape, server.port)
        print(server.port, flush=True)


trio.run(main)
