"""Bun's server-side WebSockets for trio: everything public is importable from here.

This file only re-exports; the modules with an underscore are the implementation, and nobody else's business.
"""

from trio_bunws._client import WebSocket as WebSocket
from trio_bunws._client_events import (
    CloseEvent as CloseEvent,
    ErrorEvent as ErrorEvent,
    MessageEvent as MessageEvent,
    OpenEvent as OpenEvent,
)
from trio_bunws._client_options import WebSocketOptions as WebSocketOptions
from trio_bunws._close import CloseFrame as CloseFrame, CloseInfo as CloseInfo
from trio_bunws._errors import (
    BrokerError as BrokerError,
    BunwsError as BunwsError,
    ConnectionClosed as ConnectionClosed,
    HandshakeError as HandshakeError,
    LocalProtocolError as LocalProtocolError,
    RemoteProtocolError as RemoteProtocolError,
)
from trio_bunws._handlers import WebSocketHandler as WebSocketHandler
from trio_bunws._headers import Headers as Headers, MultiDict as MultiDict
from trio_bunws._options import (
    Compressor as Compressor,
    Limits as Limits,
    PerMessageDeflate as PerMessageDeflate,
)
from trio_bunws._origins import Origins as Origins
from trio_bunws._proxy import Proxy as Proxy
from trio_bunws._reconnect import reconnecting as reconnecting
from trio_bunws._request import Request as Request
from trio_bunws._response import Response as Response
from trio_bunws._serve import open_server as open_server, serve as serve
from trio_bunws._server import Server as Server
from trio_bunws._statistics import ServerStatistics as ServerStatistics, SocketStatistics as SocketStatistics
from trio_bunws._status import (
    MessageBackpressured as MessageBackpressured,
    MessageDropped as MessageDropped,
    MessageSent as MessageSent,
    ReadyState as ReadyState,
    SendStatus as SendStatus,
)
from trio_bunws._transport import SocketAddress as SocketAddress
from trio_bunws._websocket import ServerWebSocket as ServerWebSocket

__version__ = "0.1.0"

# Tracebacks, reprs and pickles name a class where the application imports it from.
for _public in list(globals().values()):
    if getattr(_public, "__module__", "").startswith(f"{__name__}."):
        _public.__module__ = __name__
