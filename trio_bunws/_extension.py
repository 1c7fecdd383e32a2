"""Whether the extension in C is there and wanted: what it does faster, or None, and then Python does it.

Imported by the modules with the plain forms, and by nobody else. `BUNWS_NO_EXTENSIONS=1` in the environment chooses
plain Python, as do `MULTIDICT_NO_EXTENSIONS` and its like for their libraries.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["IMPLEMENTATION", "ready_messages", "send_all", "unmask"]

try:
    if os.environ.get("BUNWS_NO_EXTENSIONS"):
        raise ImportError  # noqa: TRY301  # as if it had not been built
    # All or nothing: one that was built from other sources has not all that is asked for.
    from trio_bunws._speed import ready_messages, send_all, unmask
except ImportError:
    ready_messages = send_all = unmask = None  # type: ignore[assignment]

IMPLEMENTATION: Final = "python" if unmask is None else "c"
"""What decodes frames, takes masks off and sends to many."""
