"""What can befall a connection: a peer that does not read (`stalled`), and a loss (`cut`).

They work on connections that `MemoryListener` makes by itself; how such a connection waits and breaks is in
`_memory.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from trio_bunws._client import WebSocket
from trio_bunws.testing._memory import MemoryStream
from trio_bunws.testing._raw_peer import RawPeer

if TYPE_CHECKING:
    from collections.abc import Generator

    import trio

Connection: TypeAlias = "RawPeer | WebSocket | trio.abc.Stream"


@contextmanager
def stalled(connection: Connection) -> Generator[None]:
    """Keep what the server writes from arriving while the `with` block runs, as if this peer did not read.

    So the server meets real backpressure: its first write waits, and all that it sends meanwhile is unsent. After the
    block everything arrives, in order. Stalls may be nested. Example::

        with stalled(peer):
            assert ws.send("waits with the writer") == 21
            await trio.testing.wait_all_tasks_blocked()
            assert ws.send("is unsent") == -1
        assert await peer.receive_text() == "waits with the writer"

    Args:
        connection: a `RawPeer`, a client of `open_pair`, or its end of a connection that `MemoryListener` made.

    Raises:
        TypeError: if the connection is something else.
    """
    server = _end("stalled", connection).other
    server.stall(1)
    try:
        yield
    finally:
        server.stall(-1)


def cut(connection: Connection) -> None:
    """Lose the connection at once and for good: what is under way is gone, and both ends find it broken.

    What had arrived can still be read; then reads, and all writes, raise `trio.BrokenResourceError`. A WebSocket ends
    with 1006. Example::

        cut(peer)
        assert (await ws.closed()).code == 1006

    Args:
        connection: a `RawPeer`, a client of `open_pair`, or either end of a connection that `MemoryListener` made.

    Raises:
        TypeError: if the connection is something else.
    """
    end = _end("cut", connection)
    end.lose()
    end.other.lose()


def _end(fault: str, connection: Connection) -> MemoryStream:
    stream: object = connection
    if isinstance(connection, RawPeer):
        stream = connection.stream
    elif isinstance(connection, WebSocket):
        stream = connection._life.options.stream
    if not isinstance(stream, MemoryStream):
        raise TypeError(f"{fault} expects a connection that MemoryListener made by itself, not {stream!r}")
    return stream
