"""Which of Autobahn's cases our client has to pass, against which options: one line for each run.

As `runs.py` for the server; here the options are `WebSocket`'s.
"""

from __future__ import annotations

from typing import Final

from compliance.runs import Run

PLAIN: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")
KINDS: Final = [f"12.{kind}" for kind in range(1, 6)]
PARAMETERS: Final = [f"13.{offer}" for offer in range(1, 8)]
# Not 1, which the suite takes for all that begin with 1.
DEFLATE: Final = tuple(f"{group}.{case}" for group in (*KINDS, *PARAMETERS) for case in (2, 3))
CLIENT_RUNS: Final = {
    run.name: run
    for run in (
        # As for the server; the server under test is then the suite's, and no extension is offered.
        Run("client-plain", PLAIN, 301, {"per_message_deflate": False}),
        # Compression as Bun's client offers it, with short messages of each kind: all take minutes.
        Run("client-deflate", DEFLATE, len(DEFLATE)),
        Run("client-whole", (*PLAIN, "12.*", "13.*"), 517, is_long=True),
    )
}
