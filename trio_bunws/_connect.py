"""A client's way to an open connection: TCP, TLS, and the opening handshake over it.

Nothing here knows of messages; `_client.py` bounds the time that all of it may take.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from os import urandom
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._stream_transport import take_over
from trio_bunws._wire.opening import Opened, Opening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._headers import Headers
    from trio_bunws._options import PerMessageDeflate
    from trio_bunws._transport import Transport
    from trio_bunws._url import Target

BODY_TIME: Final = 1.0
"""Seconds granted to the body of a response that refuses."""
KEY_SIZE: Final = 16


async def open_websocket(
    target: Target,
    protocols: Sequence[str],
    headers: Headers | None,
    tls: ssl.SSLContext | None,
    stream: trio.abc.Stream | None,
    *,
    deflate: bool | PerMessageDeflate = False,
) -> tuple[Transport, Opened]:
    """Connect, and open a WebSocket; the arguments, and what is raised, are those of the two functions below."""
    transport = await connect(target, tls, stream)
    try:
        return transport, await shake_hands(transport, target, protocols, headers, deflate)
    except BaseException:
        transport.abort()
        await transport.aclose()
        raise


async def connect(target: Target, tls: ssl.SSLContext | None, stream: trio.abc.Stream | None) -> Transport:
    """Return a connection to where a URL leads, with TLS if it says so.

    Args:
        target: the URL.
        tls: the context; `None`: the system's certificates.
        stream: a connection to use instead of making one; closed if this fails.

    Raises:
        OSError: if there is no connection; `trio.BrokenResourceError` if the TLS handshake fails.
    """
    if stream is None:
        stream = await trio.open_tcp_stream(target.host, target.port)
    if not target.secure:
        return take_over(stream)
    context = ssl.create_default_context() if tls is None else tls
    secured = trio.SSLStream(stream, context, server_hostname=target.host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(secured)
        raise
    return take_over(secured)


async def shake_hands(
    transport: Transport,
    target: Target,
    protocols: Sequence[str],
    headers: Headers | None,
    deflate: bool | PerMessageDeflate = False,
) -> Opened:
    """Open a WebSocket over a connection, which stays the caller's to close.

    Raises:
        HandshakeError: if the server refuses.
        RemoteProtocolError: if it answers with something else than HTTP, or not at all.
    """
    opening = Opening(
        authority=target.authority,
        resource=target.resource,
        key=b64encode(urandom(KEY_SIZE)),
        protocols=protocols,
        headers=headers,
        deflate=deflate,
    )
    with trio.CancelScope() as body:
        try:
            await transport.send_all(opening.request)
        except trio.BrokenResourceError:
            pass  # it may have answered before it closed
        while not opening.feed(await _receive(transport)):
            if opening.refused:
                body.deadline = min(body.deadline, trio.current_time() + BODY_TIME)
    return opening.result()


async def _receive(transport: Transport) -> bytes:
    try:
        return await transport.receive()
    except trio.BrokenResourceError:
        return b""
