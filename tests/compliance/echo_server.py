# python tests/compliance/echo_server.py RUN
"""The server that Autobahn's suite tests: it sends every message back as it came, compressed if that was agreed on.

Started by `run.py` with the name of a run, whose options it takes; prints its port, and ends with its standard input.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from trio_bunws import Limits, MessageDropped, ServerWebSocket, WebSocketHandler, serve

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
from compliance.runs import RUNS

if TYPE_CHECKING:
    from compliance.runs import Run

MAX_FRAGMENTS = 100_000
"""Cases 9.3.1 and 9.4.1 send 4 MiB in fragments of 64 bytes: 65,536."""


def echo(ws: ServerWebSocket[None], message: str | bytes) -> None:
    assert not isinstance(ws.send(message, compress=True), MessageDropped)


def handler(run: Run) -> WebSocketHandler[None]:
    options: dict[str, Any] = dict(run.options)
    return WebSocketHandler(message=echo, **options)


async def main() -> None:
    limits = Limits(max_fragments=MAX_FRAGMENTS)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, None, handler(RUNS[sys.argv[1]]), port=0, limits=limits))
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        await server.stop(True)


if __name__ == "__main__":
    trio.run(main)
