"""The arguments that `connect` and `bench` share, and the `WebSocket` that they ask for.

What a URL or a header may be is `WebSocket`'s to say: it is made here once, and its complaint becomes a `UsageError`.
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.arguments import CommandError, UsageError, header, seconds
from trio_bunws._cli.terminal_text import printable
from trio_bunws._client import WebSocket
from trio_bunws._errors import BunwsError, HandshakeError
from trio_bunws._headers import Headers

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Callable

OPENING_FAILURES: Final = (BunwsError, OSError, trio.BrokenResourceError, trio.TooSlowError)
"""What entering a `WebSocket` raises if it cannot be opened."""
MAX_SHOWN: Final = 300
"""Characters shown of the body of a response that refuses."""


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the URL and what goes with a connection."""
    parser.add_argument(
        "url", metavar="URL", help="ws://, wss:// or ws+unix:///path/of.sock:/path; user:password@ is sent as well"
    )
    opening = parser.add_argument_group("the connection")
    opening.add_argument(
        *("-H", "--header"),
        type=header,
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="send this header with the handshake; may be repeated",
    )
    opening.add_argument(
        *("-s", "--subprotocol"),
        action="append",
        default=[],
        metavar="NAME",
        help="offer this subprotocol; may be repeated, the preferred one first",
    )
    opening.add_argument("-o", "--origin", metavar="ORIGIN", help="send this Origin, as a page of it would")
    opening.add_argument("--no-compression", action="store_true", help="do not offer compression (permessage-deflate)")
    opening.add_argument("--compress", action="store_true", help="compress what is sent, if the server agrees")
    opening.add_argument(
        "--open-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="for connecting and the handshakes (default: 10)",
    )
    opening.add_argument("--proxy", metavar="URL", help="go through this HTTP proxy: http://host:port, or https://")
    tls = parser.add_argument_group("TLS, for wss://")
    tls.add_argument("--ca", metavar="FILE", help="trust certificates signed by those in this PEM file")
    tls.add_argument("--cert", metavar="FILE", help="present this certificate (PEM; with its key, or --key)")
    tls.add_argument("--key", metavar="FILE", help="the key of --cert")
    tls.add_argument("--insecure", action="store_true", help="trust any certificate; for tests only")


def client_maker(given: argparse.Namespace) -> Callable[[trio.abc.Stream | None], WebSocket]:
    """Return what makes the asked-for `WebSocket`, over a stream if there is one already.

    Raises:
        UsageError: if an argument cannot work.
    """
    tls = _context(given)
    origin = [] if given.origin is None else [("Origin", given.origin)]
    try:
        make = partial(
            WebSocket,
            given.url,
            given.subprotocol,
            headers=Headers([*given.header, *origin]),
            tls=tls,
            proxy=given.proxy,
            per_message_deflate=not given.no_compression,
            open_timeout=given.open_timeout,
        )
        make()  # complains now
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    return lambda stream: make(stream=stream)


def _context(given: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS context asked for; None: the usual one."""
    if given.key is not None and given.cert is None:
        raise UsageError("--key needs --cert")
    if given.ca is None and given.cert is None and not given.insecure:
        return None
    try:
        context = ssl.create_default_context(cafile=given.ca)
        if given.cert is not None:
            context.load_cert_chain(given.cert, given.key)
    except OSError as exc:  # which an SSLError is too
        raise UsageError(f"cannot use {given.ca or given.cert}: {exc.strerror or exc}") from None
    if given.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def connected(ws: WebSocket) -> AsyncGenerator[WebSocket]:
    """Be connected for the block.

    Raises:
        CommandError: if it cannot be opened. What the block raises comes out as it is.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(ws)
        except OPENING_FAILURES as exc:
            raise CommandError(f"cannot connect to {ws.url}: {_why(exc)}") from exc
        yield ws


def _why(exc: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(exc, trio.TooSlowError):
        return "it took too long"
    if isinstance(exc, HandshakeError):
        said = _shown(exc.body)
        return f"{exc}: {said}" if said else str(exc)
    cause = exc.__cause__
    while isinstance(cause, BaseExceptionGroup):  # trio tried several addresses: the first will do
        cause = cause.exceptions[0]
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return str(exc)


def _shown(body: bytes) -> str:
    """Return the beginning of a response's body in one line, with what is no text escaped."""
    text = " ".join(body.decode(errors="backslashreplace").split())
    return printable(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")
