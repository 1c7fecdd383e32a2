"""Which of Autobahn's cases are run, against which options: one line for each run.

A further group of cases is a further `Run`; its case numbers are the suite's, and its options are `WebSocketHandler`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from trio_bunws import PerMessageDeflate

if TYPE_CHECKING:
    from collections.abc import Mapping

INFORMATIONAL: Final = frozenset({"7.1.6", "7.13.1", "7.13.2"})
"""Cases in which RFC 6455 leaves both answers open, so that the suite gives no verdict."""
COMPRESSION: Final = {
    "per_message_deflate": PerMessageDeflate(compress="dedicated", decompress="dedicated"),
    "max_payload_length": 64 * 1024 * 1024,
}
"""With contexts that are taken over: there is more that can go wrong."""


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
    is_long: bool = False
    """It takes many minutes, and is done only when it is named."""


RUNS: Final = {
    run.name: run
    for run in (
        # Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, automatic fragmentation. There is
        # no group 8, and 11 is empty.
        Run("plain", ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"), 301),
        # Of each kind of data and each kind of offer: short messages, and long ones in one frame and in fragments. The
        # suite takes a pattern for a prefix, so there is no shorter way to say which.
        Run(
            "compressed",
            ("12.*.3", "12.*.6", "12.*.11", "12.1.10", "12.1.18", "13.*.3", "13.*.6", "13.*.11"),
            38,
            COMPRESSION,
        ),
        Run("all-compressed", ("12.*", "13.*"), 216, COMPRESSION, is_long=True),
    )
}
