# python examples/upload.py [port [folder]]    and open http://127.0.0.1:3000/ ; by default the folder is ./uploads
"""Files of any size over a WebSocket, in memory never more than a few chunks: `pause` while the disk is behind.

The binary handler puts each chunk into a bounded channel and pauses the socket when that is full; nothing is read then,
and TCP makes the browser wait. A task of the socket writes, and resumes it when the channel is empty. When the
connection ends the task is cancelled, and what it has written so far is removed.

    GET /upload?name=photo.jpg&size=4711     the WebSocket; the page then sends the file, in binary messages
    to the page    {"written": 65536, "paused": true} after each chunk, and in the end {"file", "sha256"} and a Close
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

CHUNKS = 8  # that wait for the disk
MAX_CHUNK = 256 * 1024  # bytes
MAX_SIZE = 4 * 1024**3  # bytes
SLOW_DISK = 0.05  # seconds for each chunk, if the page asks for a slow disk to look at
PAGE = Path(__file__).with_name("upload.html")


@attrs.define
class Upload:
    """One file that is coming in."""

    path: Path
    size: int
    slow: bool
    chunks: trio.MemorySendChannel[bytes]
    arriving: trio.MemoryReceiveChannel[bytes]


Socket: TypeAlias = ServerWebSocket[Upload]


def fetch(folder: Path, request: Request, server: Server[Upload]) -> Response | None:
    """Answer with the page, or begin an upload."""
    if request.path == "/":
        return Response.file(PAGE)
    if request.path != "/upload":
        return Response("Nothing here.\n", 404)
    size = request.query.get("size", "")
    if not re.fullmatch("[0-9]{1,12}", size) or int(size) > MAX_SIZE:
        return Response("Too big, or no size at all.\n", 413)
    # Nothing is overwritten, and no name leaves the folder or is hidden in it.
    name = re.sub(r"[^\w.-]+", "-", request.query.get("name", ""))[-80:].lstrip(".-")
    path = folder / f"{secrets.token_hex(4)}-{name or 'file'}"
    upload = Upload(path, int(size), "slow" in request.query, *trio.open_memory_channel[bytes](CHUNKS))
    if server.upgrade(request, data=upload):
        return None
    return Response("Only WebSockets here.\n", 426, {"Upgrade": "websocket"})


def opened(ws: Socket) -> None:
    """Begin to write."""
    ws.start_soon(write, ws, ws.data)


def chunk(ws: Socket, chunk: bytes) -> None:
    """Pass a chunk on to the task that writes; no more come while there is no room."""
    waiting = ws.data.chunks
    waiting.send_nowait(chunk)
    if waiting.statistics().current_buffer_used == CHUNKS:
        ws.pause()


async def write(ws: Socket, upload: Upload) -> None:
    """Write the chunks as they come, then answer and close; or leave nothing behind."""
    written, digest, part = 0, sha256(), upload.path.with_suffix(".part")
    try:
        async with await trio.open_file(part, "xb") as file:
            while written < upload.size:
                if not upload.arriving.statistics().current_buffer_used:
                    ws.resume()
                chunk = await upload.arriving.receive()
                if upload.slow:
                    await trio.sleep(SLOW_DISK)
                await file.write(chunk)
                digest.update(chunk)
                written += len(chunk)
                ws.send_text(json.dumps({"written": written, "paused": ws.is_paused}))
        if written > upload.size:
            ws.close(1008, "more bytes than were announced")
            return
        part.rename(upload.path)
        ws.send_text(json.dumps({"file": upload.path.name, "sha256": digest.hexdigest()}))
        ws.close(1000)
    finally:
        part.unlink(missing_ok=True)


UPLOAD = WebSocketHandler[Upload](open=opened, binary=chunk, max_payload_length=MAX_CHUNK, idle_timeout=30)


async def main(port: int, folder: Path) -> None:
    """Serve until Ctrl-C."""
    await trio.Path(folder).mkdir(parents=True, exist_ok=True)
    async with open_server(partial(fetch, folder), UPLOAD, port=port) as server:
        print(f"Uploads at {server.url}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    parser.add_argument("folder", nargs="?", default="uploads", type=Path, help="for the files (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port, arguments.folder)
