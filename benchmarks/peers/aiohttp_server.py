"""aiohttp, with a loop over all connections for the chat as in its own example (examples/web_ws.py).

Compression is off, and so is the access log. On uvloop if `--uvloop`. Started by the benchmarks with `chat CLIENTS` or
`echo`; prints its port.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import WSMsgType, web

connections: list[web.WebSocketResponse] = []


async def broadcast(text: str) -> None:
    for connection in connections:
        await connection.send_str(text)


async def accept(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    return connection


async def chat(request: web.Request) -> web.WebSocketResponse:
    connection = await accept(request)
    name = request.query["name"]
    connections.append(connection)
    if len(connections) == int(sys.argv[2]):
        await broadcast("ready")
    async for message in connection:
        if message.type == WSMsgType.TEXT:
            await broadcast(f"{name}: {message.data}")
    return connection


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = await accept(request)
    async for message in connection:
        if message.type == WSMsgType.TEXT:
            await connection.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await connection.send_bytes(message.data)
    return connection


async def main() -> None:
    application = web.Application()
    application.router.add_get("/", chat if sys.argv[1] == "chat" else echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if "--uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
