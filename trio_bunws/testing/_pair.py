"""`open_pair`: a server and one client of it, over streams in memory, for a test without a network.

The server is a whole one, with `fetch` and handlers, and the client is `WebSocket`; nothing between them is faked.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import NoneType
from typing import TYPE_CHECKING, cast, overload

from trio_bunws._client import WebSocket
from trio_bunws._client_options import WebSocketOptions
from trio_bunws._handlers import WebSocketHandler
from trio_bunws._options import Limits
from trio_bunws._serve import open_server
from trio_bunws.testing._memory import MemoryListener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from typing_extensions import TypeVar

    from trio_bunws._server import Fetch, Server

    T = TypeVar("T", default=None)

URL = "ws://server.test/"
LIMITS = Limits()


class PairOptions(WebSocketOptions, total=False):
    """Options of the `WebSocket`, by its names."""

    protocols: str | Iterable[str] | None


@overload
def open_pair(
    websocket: WebSocketHandler[T] | None = None,
    fetch: Fetch[T] | None = None,
    *,
    url: str = URL,
    limits: Limits = LIMITS,
    **options: Unpack[PairOptions],
) -> AbstractAsyncContextManager[tuple[Server[T], WebSocket]]: ...


@overload
def open_pair(
    fetch: Fetch[T] | None,
    websocket: WebSocketHandler[T] | None = None,
    /,
    *,
    url: str = URL,
    limits: Limits = LIMITS,
    **options: Unpack[PairOptions],
) -> AbstractAsyncContextManager[tuple[Server[T], WebSocket]]: ...


@asynccontextmanager
async def open_pair(
    websocket: WebSocketHandler[T] | Fetch[T] | None = None,
    fetch: Fetch[T] | WebSocketHandler[T] | None = None,
    *,
    url: str = URL,
    limits: Limits = LIMITS,
    **options: Unpack[PairOptions],
) -> AsyncGenerator[tuple[Server[T], WebSocket]]:
    """Serve in memory, and yield the `Server` and a `WebSocket` that is connected to it.

    Leaving the block closes the client, then the server. Example::

        async with open_pair(WebSocketHandler(message=echo)) as (server, client):
            client.send("hello")
            assert await client.receive() == "hello"

    Args:
        websocket: the server's handlers; by default there are none, and what the client sends is ignored.
        fetch: the server's `fetch`; without it every handshake is upgraded. Without names the two may also come in the
            order of `serve`, `fetch` first.
        url: what the client asks for; host and port lead nowhere.
        limits: the server's.
        options: the client's, as `WebSocket` takes them; but its keep-alive pings are off unless `ping_interval` says
            otherwise, so that nothing is sent but by the test.

    Raises:
        HandshakeError: if `fetch` does not upgrade; and what `open_server` and `WebSocket` raise.
    """
    listener = MemoryListener()
    named = isinstance(websocket, (WebSocketHandler, NoneType)) and not isinstance(fetch, WebSocketHandler)
    handler = cast("WebSocketHandler[T]", (websocket if named else fetch) or WebSocketHandler())
    answer = cast("Fetch[T] | None", fetch if named else websocket)
    options.setdefault("ping_interval", 0.0)
    async with (
        open_server(answer, handler, listeners=[listener], limits=limits) as server,
        WebSocket(url, stream=await listener.connect(), **options) as client,
    ):
        yield server, client
