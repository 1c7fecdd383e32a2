"""Warnings that peers, or a shortage, cause as often as they like: logged now and then, with the number of the others.

`_admission.py` and `_listeners.py` warn by it. What happens at most once for each request or connection that was let in
is logged every time, and not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

LOG_PAUSE: Final = 10.0
"""Seconds between two records of one kind: a flood of connections must not become a flood of lines."""


class SeldomLog:
    """One kind of warning."""

    __slots__ = ("_logged_at", "_logger", "_others")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger: Final = logger
        self._logged_at: float | None = None
        self._others = 0  # since then

    def warning(self, words: str, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Log as `Logger.warning` does; but only count it if the last time was less than `LOG_PAUSE` ago."""
        now = trio.current_time()
        if self._logged_at is not None and now < self._logged_at + LOG_PAUSE:
            self._others += 1
            return
        if self._others:
            words += "; %s more since the last such line"
            args += (self._others,)
        self._logger.warning(words, *args, extra=extra, stacklevel=2)
        self._logged_at = now
        self._others = 0
