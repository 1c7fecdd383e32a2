"""What the library's log records say beside their words: the `extra=` fields, by the names of docs/observability.md.

Whoever logs something about a peer asks here, so that a name means the same everywhere. Nothing here is a secret: of a
request there are the method and the path, never its query, its headers or its body. Nor can a peer write lines of its
own into the log: the path is as sent, and so without control characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_bunws._url import authority

if TYPE_CHECKING:
    from trio_bunws._request import Request
    from trio_bunws._transport import SocketAddress


def of_peer(remote: SocketAddress | None, **more: object) -> dict[str, object]:
    """Return the fields of a record about a connection: `peer` is "address:port", and None where there is none."""
    if remote is None:
        return {"peer": None, **more}
    return {"peer": authority(remote.address, remote.port), **more}


def of_request(request: Request, **more: object) -> dict[str, object]:
    """Return the fields of a record about a request, or about the WebSocket that it has become."""
    return of_peer(request._remote, method=request.method, path=request._path_as_sent(), **more)
