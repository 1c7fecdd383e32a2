"""trio_bunws as the target of `bombs.py`: a server with a limit of 1 MiB that watches itself.

Started with `HANDLER COMPRESSOR` (`def` or `async`); prints its port. `GET /watch` starts the watch anew, `GET /seen`
tells what was seen since: steps of the loop, memory, and what came to the handlers.
"""

from __future__ import annotations

import gc
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast

import trio

from trio_bunws import (
    Compressor,
    PerMessageDeflate,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocketHandler,
    serve,
)

LIMIT = 1024 * 1024


class Watch(trio.abc.Instrument):
    """The longest step of any task, by the clock and by this thread's processor time, in seconds; and the memory."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak is now what there is
        self._began = self._began_cpu = 0.0  # of the step that starts the watch: not measured
        self.held = self.held_cpu = 0.0
        self.resident = _memory("VmRSS")
        self.messages = self.inflated = 0
        self.closed: tuple[int, str] | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's signature
        self._began, self._began_cpu = time.perf_counter(), time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's signature
        if self._began:
            self.held = max(self.held, time.perf_counter() - self._began)
            self.held_cpu = max(self.held_cpu, time.thread_time() - self._began_cpu)

    def seen(self) -> dict[str, object]:
        return {
            "held": self.held,
            "held_cpu": self.held_cpu,
            "growth": _memory("VmHWM") - self.resident,
            "messages": self.messages,
            "inflated": self.inflated,
            "closed": self.closed,
        }


def _memory(name: str) -> int:
    """Bytes, of /proc/self/status."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


async def main() -> None:
    how, compressor = sys.argv[1:]
    watch = Watch()

    def fetch(request: Request, server: Server[None]) -> Response | None:
        if request.path == "/watch":
            watch.start()
            return Response("watching")
        if request.path == "/seen":
            return Response.json(watch.seen())
        return None if server.upgrade(request) else Response("WebSockets only", status=400)

    def received(_: ServerWebSocket[None], text: str) -> None:
        watch.messages += 1
        watch.inflated += len(text)

    async def received_slowly(ws: ServerWebSocket[None], text: str) -> None:
        received(ws, text)
        await trio.lowlevel.checkpoint()

    def closed(_: ServerWebSocket[None], code: int, reason: str) -> None:
        watch.closed = code, reason

    size = cast("Compressor", compressor)
    handler = WebSocketHandler[None](
        text=received if how == "def" else received_slowly,
        close=closed,
        max_payload_length=LIMIT,
        per_message_deflate=PerMessageDeflate(compress=size, decompress=size),
    )
    async with trio.open_nursery() as nursery:
        server: Server[None] = await nursery.start(partial(serve, fetch, handler, port=0))
        trio.lowlevel.add_instrument(watch)
        print(server.port, flush=True)


trio.run(main)
