"""What an application may write about the client, without a complaint of a type checker.

Read by type checkers only, through tests/test_typing.py; nothing here is run.
"""

from __future__ import annotations

from typing import assert_type

from trio_bunws import (
    CloseEvent,
    ErrorEvent,
    MessageEvent,
    OpenEvent,
    Proxy,
    WebSocket,
    WebSocketOptions,
    reconnecting,
)


def opened(event: OpenEvent) -> None:
    assert_type(event.target, WebSocket)


async def message(event: MessageEvent) -> None:
    assert_type(event.data, str | bytes)


def closed(event: CloseEvent) -> None:
    assert_type(event.was_clean, bool)


def failed(event: ErrorEvent) -> None:
    assert_type(event.error, Exception)


def anything(event: OpenEvent | MessageEvent | CloseEvent | ErrorEvent) -> str:
    return event.type


async def talk() -> None:
    ws = WebSocket("wss://h/", ["a", "b"], proxy=Proxy("http://gate", headers={"X": "y"}))
    ws.add_event_listener("open", opened)
    ws.add_event_listener("message", message)
    ws.add_event_listener("ping", message)
    ws.add_event_listener("close", closed)
    ws.add_event_listener("error", failed)
    ws.add_event_listener("error", anything)
    ws.add_event_listener("message", lambda event: event.target.send(event.data))
    ws.remove_event_listener("open", opened)
    async with ws as entered:
        assert_type(entered, WebSocket)
        assert_type(await ws.receive(), str | bytes)
        assert_type(ws.latency, float | None)


async def talk_again() -> None:
    options: WebSocketOptions = {"open_timeout": 3, "proxy": "http://gate"}
    async for ws in reconnecting("ws://h/", "chat", max_delay=5, **options):
        assert_type(ws, WebSocket)
        async for text in ws:
            assert_type(text, str | bytes)
    async with reconnecting("ws://h/", ping_interval=5) as sockets:
        assert_type(await sockets.__anext__(), WebSocket)
