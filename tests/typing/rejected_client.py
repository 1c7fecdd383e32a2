"""Mistakes with the client: each line that is marked must not type-check.

Read by type checkers only, through tests/test_typing.py; what the marks mean is told in rejected_members.py.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from trio_bunws import CloseEvent, MessageEvent, WebSocket, reconnecting


def message(event: MessageEvent) -> None: ...


def closed(event: CloseEvent) -> None: ...


ws = WebSocket("ws://h/")
ws.add_event_listener("message", closed)  # E: call-overload  # pyright: ignore[reportArgumentType, reportCallIssue]
ws.add_event_listener("drain", message)  # E: call-overload  # pyright: ignore[reportArgumentType, reportCallIssue]
ws.remove_event_listener("drain", message)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocket("ws://h/", proxy=7)  # E: arg-type  # pyright: ignore[reportArgumentType]
reconnecting("ws://h/", colour=1)  # E: call-arg  # pyright: ignore[reportCallIssue]
