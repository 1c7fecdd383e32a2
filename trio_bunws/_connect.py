"""A client's way to an open connection: TCP or a unix socket, a proxy's tunnel, TLS, and the opening handshake.

Nothing here knows of messages; `_client_life.py` bounds the time that all of it may take.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from os import urandom
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._stream_transport import take_over
from trio_bunws._url import authority
from trio_bunws._wire.opening import Opened, Opening
from trio_bunws._wire.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._client_options import ClientOptions
    from trio_bunws._proxy import Proxy
    from trio_bunws._transport import Transport
    from trio_bunws._url import Target
    from trio_bunws._wire.client_request import ClientRequest

BODY_TIME: Final = 1.0
"""Seconds granted to the body of a response that refuses."""
KEY_SIZE: Final = 16
READ_SIZE: Final = 64 * 1024


async def open_websocket(options: ClientOptions) -> tuple[Transport, Opened]:
    """Connect, and open a WebSocket. Raises what `connect` and `shake_hands` raise, and leaves no connection then."""
    transport = await connect(options)
    try:
        return transport, await shake_hands(transport, options)
    except BaseException:
        transport.abort()
        await transport.aclose()
        raise


async def connect(options: ClientOptions) -> Transport:
    """Return a connection to where the URL leads: through the proxy, and with TLS, if there are such.

    A stream among the options is used instead of a new connection, to the server or the proxy; it is closed if this
    fails.

    Raises:
        OSError: if there is no connection; `trio.BrokenResourceError` if a TLS handshake fails, its `__cause__` is
            OpenSSL's.
        HandshakeError: if the proxy refuses; `RemoteProtocolError` if it does not speak HTTP.
    """
    target, proxy = options.target, options.proxy
    stream = options.stream
    if stream is None:
        stream = await _reach(target if proxy is None else proxy._target)
    try:
        if proxy is not None:
            if proxy._target.secure:
                stream = await _secure(stream, proxy.tls or options.tls, proxy._target.host)
            await _tunnel(stream, proxy, target)
        if target.secure:
            stream = await _secure(stream, options.tls, target.host)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return take_over(stream)


async def shake_hands(transport: Transport, options: ClientOptions) -> Opened:
    """Open a WebSocket over a connection, which stays the caller's to close.

    Raises:
        HandshakeError: if the server refuses.
        RemoteProtocolError: if it answers with something else than HTTP, or not at all.
    """
    opening = Opening(
        authority=options.target.authority,
        resource=options.target.resource,
        key=b64encode(urandom(KEY_SIZE)),
        protocols=options.protocols,
        headers=options.headers,
        deflate=options.handler.per_message_deflate,
    )
    await _exchange(opening, transport.send_all, transport.receive)
    return opening.result()


async def _reach(target: Target) -> trio.SocketStream:
    """Connect; of several addresses of a name the one that answers first (RFC 8305), as trio has it."""
    if target.unix is not None:
        try:
            return await trio.open_unix_socket(target.unix)
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, target.unix) from exc  # the system's does not name the path
    return await trio.open_tcp_stream(target.host, target.port)


async def _secure(stream: trio.abc.Stream, tls: ssl.SSLContext | None, host: str) -> trio.abc.Stream:
    """Return the connection with TLS over it."""
    context = ssl.create_default_context() if tls is None else tls
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__  # what OpenSSL says, or the stream's own end
        raise trio.BrokenResourceError(f"the TLS handshake with {host} failed: {cause or exc}") from cause
    return secured


async def _tunnel(stream: trio.abc.Stream, proxy: Proxy, target: Target) -> None:
    """Ask a proxy for the way to the target."""
    tunnel = Tunnel(authority(target.host, target.port), proxy._request_headers())

    async def receive() -> bytes:
        return bytes(await stream.receive_some(READ_SIZE))

    await _exchange(tunnel, stream.send_all, receive)
    tunnel.result()


async def _exchange(
    asked: ClientRequest, send_all: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]
) -> None:
    """Send the request, and read the response; of the body of a refusal, what comes within `BODY_TIME`."""
    with trio.CancelScope() as waiting:
        try:
            await send_all(asked.request)
        except trio.BrokenResourceError:
            pass  # it may have answered before it closed
        while not asked.feed(await _received(receive)):
            if asked.refused:
                waiting.deadline = min(waiting.deadline, trio.current_time() + BODY_TIME)


async def _received(receive: Callable[[], Awaitable[bytes]]) -> bytes:
    """Read; a connection that breaks has ended."""
    try:
        return await receive()
    except trio.BrokenResourceError:
        return b""
