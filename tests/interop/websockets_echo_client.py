"""An echo client on the asyncio client of websockets: what such a program does is told in __init__.py."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol
from websockets_converse import LONGEST, converse


async def main(url: str) -> None:
    """Print the subprotocol, and converse."""
    offered = [Subprotocol("v1"), Subprotocol("v2")]
    async with connect(url, proxy=None, subprotocols=offered, max_size=LONGEST) as ws:
        print(ws.subprotocol or "", flush=True)  # noqa: T201  # the program's output
        await converse(ws)


asyncio.run(main(sys.argv[1]))
