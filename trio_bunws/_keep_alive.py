"""A client's keep-alive pings: when one is due, when a silent server is given up, and how long answers take.

Times and counts only: `_client_connection.py` sends the pings and acts on the verdict.
"""

from __future__ import annotations

import math
from typing import Final

MAX_OUTSTANDING: Final = 16
"""Pings whose pong is waited for; older ones are forgotten, so that a server that never answers costs nothing."""


class KeepAlive:
    """The pings of one connection; times are trio's, in seconds."""

    __slots__ = ("_heard", "_interval", "_outstanding", "_timeout", "_waiting_since", "latency", "next_ping")

    def __init__(self, interval: float, timeout: float) -> None:
        """Ping every `interval`, and give up when nothing comes for `timeout` after a ping; 0: never."""
        self._interval: Final = interval or math.inf
        self._timeout: Final = timeout or math.inf
        self._outstanding: Final[dict[bytes, float]] = {}
        # Since when a sign of life is waited for, and the state of `heard` at that time.
        self._waiting_since: float | None = None
        self._heard: object = None
        self.next_ping = math.inf
        """When the next ping is due."""
        self.latency: float | None = None
        """Seconds from the latest ping that was answered to its pong."""

    def begin(self, now: float) -> None:
        """The server's silence begins now: the connection has opened, or is read again after we had not."""
        self.next_ping = min(self.next_ping, now + self._interval)
        self._waiting_since = None

    def ping_sent(self, payload: bytes, now: float) -> None:
        """Remember a ping, the application's too."""
        self._outstanding.pop(payload, None)
        self._outstanding[payload] = now
        if len(self._outstanding) > MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]

    def pong_came(self, payload: bytes, now: float) -> None:
        """Measure, if it answers a ping of ours; it answers those before, too (RFC 6455, section 5.5.3)."""
        if payload not in self._outstanding:
            return
        self.latency = now - self._outstanding[payload]
        while next(iter(self._outstanding)) != payload:
            del self._outstanding[next(iter(self._outstanding))]
        del self._outstanding[payload]

    def keep_alive_sent(self, payload: bytes, now: float, heard: object) -> None:
        """Wait for a sign of life from now on; `heard` is what changes with every one."""
        self.ping_sent(payload, now)
        self.next_ping = now + self._interval
        if self._waiting_since is None:
            self._waiting_since = now
            self._heard = heard

    def gives_up_at(self, heard: object) -> float:
        """Return when the server is given up for silent; inf if none is waited for, or `heard` has changed since."""
        if self._waiting_since is None or heard != self._heard:
            self._waiting_since = None
            return math.inf
        return self._waiting_since + self._timeout
