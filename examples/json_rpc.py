# python examples/json_rpc.py [port]    and, to talk to it: trio-bunws connect ws://127.0.0.1:3000/
"""JSON-RPC 2.0 over a session handler, with typed methods: what a method is given is a class, checked by msgspec.

    {"jsonrpc": "2.0", "id": 1, "method": "divide", "params": {"a": 1, "b": 8}}

A client may call as fast as it likes, and alone or in batches: calls run beside each other, each in a task of the
session's nursery, and end with the connection. While sixteen run, the socket is not read. https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import argparse
import logging
import math
from abc import abstractmethod
from contextlib import suppress
from typing import Any, Literal

import msgspec
import trio
from msgspec import UNSET, Struct, UnsetType

from trio_bunws import ServerWebSocket, WebSocketHandler, open_server

CALLS_AT_ONCE = 16
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
DIVISION_BY_ZERO = 1  # our own; the specification's are negative
logger = logging.getLogger("json_rpc")


class Call(Struct):
    """What a client sends; without an id it is a notification, which is not answered."""

    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] | list[Any] = {}
    id: int | str | UnsetType | None = UNSET


class Failure(Exception):
    """A call fails with this code; it becomes the error of the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Method(Struct, forbid_unknown_fields=True):
    """A method; its fields are the parameters, by name or by position."""

    @abstractmethod
    async def __call__(self, ws: ServerWebSocket, /) -> object:
        """Do it, and return the result; `Failure` becomes the error that the client sees."""


class Divide(Method):
    """`divide(a, b)`: a/b."""

    a: float
    b: float

    async def __call__(self, _ws: ServerWebSocket, /) -> float:
        """Divide."""
        if not self.b:
            raise Failure(DIVISION_BY_ZERO, "Division by zero")
        return self.a / self.b


class Factorial(Method):
    """`factorial(n)`: computed in a thread, since it may take long."""

    n: int

    async def __call__(self, _ws: ServerWebSocket, /) -> str:
        """Multiply, where that holds up nobody."""
        if not 0 <= self.n <= 1000:
            raise Failure(INVALID_PARAMS, "n must be from 0 to 1000")
        return str(await trio.to_thread.run_sync(math.factorial, self.n))


class Countdown(Method):
    """`countdown(start, pause)`: tells each number in a notification, `pause` seconds apart, and then answers."""

    start: int
    pause: float = 1.0

    async def __call__(self, ws: ServerWebSocket, /) -> str:
        """Count."""
        for number in range(self.start, 0, -1):
            await ws.send_wait(encode({"jsonrpc": "2.0", "method": "count", "params": [number]}))
            await trio.sleep(self.pause)
        return "lift-off"


METHODS: dict[str, type[Method]] = {"divide": Divide, "factorial": Factorial, "countdown": Countdown}


async def session(ws: ServerWebSocket) -> None:
    """Run a client's calls until it goes; whatever still runs then is cancelled."""
    running = trio.Semaphore(CALLS_AT_ONCE)
    async with trio.open_nursery() as nursery:
        async for message in ws:
            await running.acquire()
            nursery.start_soon(handle, ws, message, running)
        nursery.cancel_scope.cancel()


async def handle(ws: ServerWebSocket, message: str | bytes, running: trio.Semaphore) -> None:
    """Answer one message: a call or a batch of them."""
    try:
        try:
            request = msgspec.json.decode(message)
        except ValueError:  # bad JSON, or bytes that are not UTF-8
            answer: object = error(None, PARSE_ERROR, "Parse error")
        else:
            answer = await batch(ws, request) if isinstance(request, list) else await run(ws, request)
        if answer is not None:
            await ws.send_wait(encode(answer))
    finally:
        running.release()


async def batch(ws: ServerWebSocket, requests: list[Any]) -> object:
    """Run the calls of a batch one after the other; answer in one message those that have an id."""
    if not requests:
        return error(None, INVALID_REQUEST, "Invalid Request: an empty batch")
    answers = [await run(ws, request) for request in requests]
    return [answer for answer in answers if answer is not None] or None


async def run(ws: ServerWebSocket, request: object) -> object:
    """Run one call; return its answer, or None for a notification."""
    try:
        call = msgspec.convert(request, Call)
    except msgspec.ValidationError as exc:
        return error(None, INVALID_REQUEST, f"Invalid Request: {exc}")
    try:
        result = await method(call)(ws)
    except Failure as failure:
        answer = error(call.id, failure.code, str(failure))
    except Exception:
        logger.exception("%s failed", call.method)
        answer = error(call.id, INTERNAL_ERROR, "Internal error")
    else:
        answer = {"jsonrpc": "2.0", "result": result, "id": call.id}
    return None if call.id is UNSET else answer


def method(call: Call) -> Method:
    """Find the method, and check its parameters."""
    kind = METHODS.get(call.method)
    if kind is None:
        raise Failure(METHOD_NOT_FOUND, f"Method not found: {call.method}")
    params = call.params
    try:
        if isinstance(params, list):
            params = dict(zip(kind.__struct_fields__, params, strict=len(params) > len(kind.__struct_fields__)))
        return msgspec.convert(params, kind)
    except ValueError as exc:  # msgspec's ValidationError is one; the other is that of too many
        raise Failure(INVALID_PARAMS, f"Invalid params: {exc}") from None


def error(about: int | str | UnsetType | None, code: int, message: str) -> dict[str, object]:
    """Make the answer to a call that failed."""
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": about}


def encode(answer: object) -> str:
    """Write JSON as text."""
    return msgspec.json.encode(answer).decode()


JSON_RPC = WebSocketHandler(session=session, max_payload_length=64 * 1024, backpressure_limit=1024 * 1024)


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    async with open_server(websocket=JSON_RPC, port=port) as server:
        print(f"JSON-RPC at ws://127.0.0.1:{server.port}/", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port)
