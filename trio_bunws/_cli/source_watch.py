"""Which Python files below a folder have changed: what `serve --reload` waits for.

It looks at times and sizes twice a second, in a worker thread: that works on every file system and holds nobody up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from trio_bunws._cli.application import is_of_application

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD: Final = 0.5
"""Seconds between two looks."""
Snapshot: TypeAlias = "dict[Path, tuple[int, int]]"


class SourceWatch:
    """The Python files below a folder, as they were at the last look."""

    def __init__(self, folder: Path) -> None:
        """Look for the first time, at once: what changes from now on is a change."""
        self._folder: Final = folder
        self._seen: Snapshot = snapshot(folder)

    async def changed(self) -> list[Path]:
        """Wait until files were changed, made or removed; return them. A checkpoint."""
        while True:
            await trio.sleep(PERIOD)
            now = await trio.to_thread.run_sync(snapshot, self._folder, abandon_on_cancel=True)
            before, self._seen = self._seen, now
            changed = {path for path, _ in before.items() ^ now.items()}
            if changed:
                return sorted(changed)


def snapshot(folder: Path) -> Snapshot:
    """Return the time and size of each Python file below a folder."""
    found: Snapshot = {}
    for path in _sources(folder):
        try:
            status = path.stat()
        except OSError:  # it has just been removed
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _sources(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        here = Path(where)
        folders[:] = [name for name in folders if is_of_application(here / name, folder)]
        yield from (here / name for name in files if name.endswith(".py"))
