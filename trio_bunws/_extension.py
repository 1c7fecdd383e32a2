"""Whether the extension in C is there and wanted: what it does faster, or None, and then Python does it.

Imported by the modules with the plain forms, and by nobody else. `BUNWS_NO_EXTENSIONS=1` in the environment chooses
plain Python, as do `MULTIDICT_NO_EXTENSIONS` and its like for their libraries.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["IMPLEMENTATION", "binary_frame", "mask_frame", "ready_messages", "send_all", "text_frame", "unmask"]

try:
    if os.environ.get("BUNWS_NO_EXTENSIONS"):
        raise ImportError  # noqa: TRY301  # as if it had not been built
    # All or nothing: one that was built from other sources has not all that is asked for.
    from trio_bunws._speed import binary_frame, mask_frame, ready_messages, send_all, text_frame, unmask
except ImportError:
    binary_frame = mask_frame = ready_messages = send_all = text_frame = unmask = None  # type: ignore[assignment]

IMPLEMENTATION: Final = "python" if unmask is None else "c"
"""What builds and decodes frames, takes masks off and sends to many."""
