"""An echo server on uWebSockets, through socketify: what such a program does is told in __init__.py.

How to compress is told by the names of the library's options, as `{"compression": ["SHARED_COMPRESSOR"]}`.
"""

from __future__ import annotations

import json
import sys
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Any

uws: Any = import_module("socketify")  # which has no types
BY_DEFAULT = '{"compression": ["SHARED_COMPRESSOR", "SHARED_DECOMPRESSOR"]}'
LONGEST = 16 * 1024 * 1024


def upgrade(response: Any, request: Any, context: Any) -> None:  # noqa: ANN401  # no types, as above
    """Choose v2 of what is offered."""
    offered = (request.get_header("sec-websocket-protocol") or "").replace(" ", "").split(",")
    key, extensions = (request.get_header(f"sec-websocket-{name}") for name in ("key", "extensions"))
    response.upgrade(key, "v2" if "v2" in offered else "", extensions, context)


def message(ws: Any, data: str | bytes, opcode: int) -> None:  # noqa: ANN401
    """Do what is told, and send back what is no order."""
    match data.split(" ", 2) if isinstance(data, str) else []:
        case ["/ping", what]:
            ws.send(what, uws.OpCode.PING)
        case ["/close", code, reason]:
            ws.end(int(code), reason)
        case _:
            ws.send(data, opcode, compress=True)


def main(compression: str = BY_DEFAULT) -> None:
    """Print the port, and serve."""
    names = json.loads(compression)["compression"]
    app = uws.App()
    behaviour = {
        "compression": int(reduce(or_, (uws.CompressOptions[name] for name in names), 0)),
        "max_payload_length": LONGEST,
        "max_backpressure": 2 * LONGEST,
        "upgrade": upgrade,
        "message": message,
        "pong": lambda ws, data: ws.send(f"/pong {data.decode()}", uws.OpCode.TEXT),
        "close": lambda _, code, reason: print(json.dumps([code, (reason or b"").decode()]), flush=True),  # noqa: T201
    }
    app.ws("/*", behaviour)
    app.listen({"host": "127.0.0.1"}, lambda config: print(config.port, flush=True))  # noqa: T201
    app.run()


main(*sys.argv[1:])
