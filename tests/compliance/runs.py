"""Which of Autobahn's cases are run, against which options: one line for each run.

A further group of cases is a further `Run`; its case numbers are the suite's, and its options are `WebSocketHandler`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

INFORMATIONAL: Final = frozenset({"7.1.6", "7.13.1", "7.13.2"})
"""Cases in which RFC 6455 leaves both answers open, so that the suite gives no verdict."""


@frozen
class Run:
    """One server, and the cases that it has to pass."""

    name: str
    cases: tuple[str, ...]
    """Patterns of case numbers, as the suite has them."""
    count: int
    """How many cases these are: a report with fewer has lost some."""
    options: Mapping[str, Any] = field(factory=dict)
    """Of the server's handler, beside those that `echo_server.py` always needs."""


RUNS: Final = {
    run.name: run
    for run in (
        # Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, automatic fragmentation. There is
        # no group 8, and 11 is empty.
        Run("plain", ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"), 301),
    )
}
