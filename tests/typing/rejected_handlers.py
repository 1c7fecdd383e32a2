"""Handlers that take or give something else: each line that is marked must not type-check.

Read by type checkers only, through tests/test_typing.py. `E` names mypy's error on its line; pyright, for which the
same line needs an ignore, reports an ignore that it does not need.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from trio_bunws import Limits, PerMessageDeflate, ServerWebSocket, WebSocketHandler


def nothing() -> None: ...


def only_socket(ws: ServerWebSocket[int]) -> None: ...


def text(ws: ServerWebSocket[int], message: str) -> None: ...


def binary(ws: ServerWebSocket[int], message: bytes) -> None: ...


def code_only(ws: ServerWebSocket[int], code: int) -> None: ...


def reason_first(ws: ServerWebSocket[int], reason: str, code: int) -> None: ...


def socket_first(ws: ServerWebSocket[int], exc: Exception) -> None: ...


def only_value_errors(exc: ValueError, ws: ServerWebSocket[int]) -> None: ...


def plain_session(ws: ServerWebSocket[int]) -> None: ...


WebSocketHandler(only_socket)  # E: call-arg  # pyright: ignore[reportCallIssue]
WebSocketHandler(open=nothing)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(open=text)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(open="opened")  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(opened=only_socket)  # E: call-arg  # pyright: ignore[reportCallIssue]
WebSocketHandler(message=only_socket)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(message=text)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(message=binary)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(text=binary)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(binary=text)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(drain=nothing)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(close=code_only)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(close=reason_first)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(ping=text)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(pong=only_socket)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(error=socket_first)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(error=only_value_errors)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(session=plain_session)  # E: arg-type  # pyright: ignore[reportArgumentType]

WebSocketHandler().on_open(nothing)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_message(text)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_text(binary)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_binary(text)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_bytes(text)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_drain(nothing)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_close(code_only)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_ping(text)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_pong(text)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_error(socket_first)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]
WebSocketHandler().on_session(plain_session)  # E: arg-type  # pyright: ignore[reportArgumentType, reportCallIssue]

WebSocketHandler(idle_timeout="60")  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(max_payload_length=0.5)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(per_message_deflate="shared")  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler(per_message_deflate=PerMessageDeflate(compress="1KB"))  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler().with_backpressure_limit("1 MiB")  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler().with_publish_to_self(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
WebSocketHandler().with_compression(True)  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]

handler = WebSocketHandler(open=only_socket)
handler.idle_timeout = 60  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
handler.open = only_socket  # E: misc  # pyright: ignore[reportAttributeAccessIssue]

limits = Limits(close_timeout="10")  # E: arg-type  # pyright: ignore[reportArgumentType]
limits.max_headers = 10  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
