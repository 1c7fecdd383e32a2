"""Every form that a handler may have: `def` and `async def`, by keyword and fluent, messages and sessions.

Read by type checkers only, through tests/test_typing.py; nothing here is run.
"""

from __future__ import annotations

from functools import partial
from typing import assert_type

import trio

from trio_bunws import Compressor, PerMessageDeflate, SendStatus, ServerWebSocket, WebSocketHandler


def opened(ws: ServerWebSocket[int]) -> None:
    ws.data += 1


async def opened_later(ws: ServerWebSocket[int]) -> None:
    await ws.drained()


def echo(ws: ServerWebSocket[int], message: str | bytes) -> SendStatus:
    return ws.send(message)


def text(ws: ServerWebSocket[int], message: str) -> None:
    ws.send_text(message.upper())


async def binary(ws: ServerWebSocket[int], message: bytes) -> None:
    assert_type(await ws.send_wait(message[::-1]), SendStatus)


def closed(ws: ServerWebSocket[int], code: int, reason: str) -> None:
    ws.data = code + len(reason)


def pinged(ws: ServerWebSocket[int], data: bytes) -> None:
    ws.pong(data)


async def failed(exc: Exception, ws: ServerWebSocket[int]) -> None:
    await trio.lowlevel.checkpoint()
    ws.close(1011, str(exc))


async def session(ws: ServerWebSocket[int]) -> None:
    async for message in ws:
        assert_type(message, str | bytes)
        ws.send(message)


def count(step: int, ws: ServerWebSocket[int]) -> None:
    ws.data += step


class Echo:
    """A handler may be an object, too."""

    async def __call__(self, ws: ServerWebSocket[int], message: str | bytes) -> None:
        await ws.send_wait(message)

    def method(self, ws: ServerWebSocket[int]) -> None:
        ws.send("hello")


by_keyword = WebSocketHandler(
    open=opened, message=echo, drain=opened_later, close=closed, ping=pinged, pong=pinged, error=failed
)
assert_type(by_keyword, WebSocketHandler[int])
assert_type(WebSocketHandler(text=text, binary=binary), WebSocketHandler[int])
assert_type(WebSocketHandler(open=opened, session=session), WebSocketHandler[int])
assert_type(WebSocketHandler(open=partial(count, 2), message=Echo(), drain=Echo().method), WebSocketHandler[int])

# The first handler of the fluent form says what the data is, whichever it is.
assert_type(WebSocketHandler(), WebSocketHandler[None])
assert_type(WebSocketHandler().on_open(opened), WebSocketHandler[int])
assert_type(WebSocketHandler().on_message(echo), WebSocketHandler[int])
assert_type(WebSocketHandler().on_text(text), WebSocketHandler[int])
assert_type(WebSocketHandler().on_binary(binary), WebSocketHandler[int])
assert_type(WebSocketHandler().on_bytes(binary), WebSocketHandler[int])
assert_type(WebSocketHandler().on_drain(opened), WebSocketHandler[int])
assert_type(WebSocketHandler().on_close(closed), WebSocketHandler[int])
assert_type(WebSocketHandler().on_ping(pinged), WebSocketHandler[int])
assert_type(WebSocketHandler().on_pong(pinged), WebSocketHandler[int])
assert_type(WebSocketHandler().on_error(failed), WebSocketHandler[int])
assert_type(WebSocketHandler().on_session(session), WebSocketHandler[int])
assert_type(WebSocketHandler().on_open(opened).on_text(text).with_idle_timeout(60), WebSocketHandler[int])
assert_type(WebSocketHandler().with_max_inbox(4).on_close(closed), WebSocketHandler[int])

compressor: Compressor = "16KB"
options: WebSocketHandler[int] = (
    WebSocketHandler(open=opened)
    .with_max_payload_length(1024)
    .with_backpressure_limit(0)
    .with_close_on_backpressure_limit(True)
    .with_idle_timeout(0.5)
    .with_publish_to_self(True)
    .with_send_pings(False)
    .with_per_message_deflate(PerMessageDeflate(compress=compressor, decompress=False, min_size=100))
    .with_max_inbox(1)
)
assert_type(options.idle_timeout, float)
assert_type(options.per_message_deflate, bool | PerMessageDeflate)
