# python tests/compliance/echo_client.py RUN
"""The client that Autobahn's suite tests: it connects for each case, and sends every message back as it came.

Started by `run_client.py` with the name of a run, whose options it takes; the suite's address is in the environment, as
the suite's `run_client_cases.py` puts it there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from trio_bunws import BunwsError, MessageEvent, WebSocket

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
from compliance.client_runs import CLIENT_RUNS

if TYPE_CHECKING:
    from compliance.runs import Run

MAX_FRAGMENTS = 100_000
"""Cases 9.3.1 and 9.4.1 send 4 MiB in fragments of 64 bytes: 65,536."""


def client(run: Run, url: str) -> WebSocket:
    options: dict[str, Any] = dict(run.options)
    # No pings of our own: the suite counts what it is sent.
    return WebSocket(url, max_fragments=MAX_FRAGMENTS, ping_interval=0, close_timeout=3, **options)


def send_back(event: MessageEvent) -> None:
    event.target.send(event.data, compress=True)


async def run_case(ws: WebSocket) -> None:
    """Send every message back, to the end of the connection, however it comes."""
    # A listener answers before the next frame is looked at, which may be a wrong one; `receive` comes too late then,
    # and the suite calls that NON-STRICT.
    ws.add_event_listener("message", send_back)
    try:
        async with ws:
            await ws.closed()
    except BunwsError:
        pass  # how it ended is what the suite looks at


async def main() -> None:
    run = CLIENT_RUNS[sys.argv[1]]
    url, agent, count = (os.environ[f"AUTOBAHN_{name}"] for name in ("URL", "AGENT", "COUNT"))
    for case in range(1, int(count) + 1):
        await run_case(client(run, f"{url}/runCase?case={case}&agent={agent}"))
    await run_case(WebSocket(f"{url}/updateReports?agent={agent}"))


if __name__ == "__main__":
    trio.run(main)
