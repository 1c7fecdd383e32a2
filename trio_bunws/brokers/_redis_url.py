"""Where a Redis is, and who we are there: the URL that `RedisBroker` gets, read and checked.

Pure data. The password is shown by nothing here: no `repr`, no error.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

PORT: Final = 6379
SCHEMES: Final = ("redis", "rediss", "unix")
WORDS: Final = "RedisBroker expects url to be redis://[[user]:password@]host[:port][/db], rediss://... or unix:///path"


@frozen
class RedisURL:
    """A Redis's address, and what it is told first."""

    host: str
    """The name or address; "" with a `path`."""
    port: int
    path: str
    """The path of its unix socket, or ""."""
    db: int
    """The database to select; it makes no difference to publishing."""
    username: str | None
    password: str | None = field(repr=False)
    tls: bool

    def __str__(self) -> str:
        """Return it as a URL, without the password."""
        user = f"{self.username}@" if self.username else ""
        if self.path:
            return f"unix://{user}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{user}{host}:{self.port}/{self.db}"


def parse_url(url: object) -> RedisURL:
    """Read the URL of a Redis; user and password may be percent-encoded.

    Raises:
        TypeError: if it is no `str`.
        ValueError: if it is none of the forms that are allowed; the words do not repeat it, for its password.
    """
    if not isinstance(url, str):
        raise TypeError(f"{WORDS}, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port = PORT if parts.port is None else parts.port
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        is_unix = parts.scheme == "unix"
        db = int(query.pop("db", 0) if is_unix else parts.path.strip("/") or 0)
    except ValueError:
        raise ValueError(f"{WORDS}; this is none") from None
    host = parts.hostname or ""
    if parts.scheme not in SCHEMES or query or parts.fragment or db < 0 or (not parts.path if is_unix else not host):
        raise ValueError(f"{WORDS}; this is none")
    return RedisURL(
        host="" if is_unix else host,
        port=port,
        path=unquote(parts.path) if is_unix else "",
        db=db,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "rediss",
    )
