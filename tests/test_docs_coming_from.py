"""The pages for who comes from Bun and from other libraries: the room there and ours behave alike, to the same clients.

Each program of a page runs as a process of its own; only its port is replaced, by one that is free.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from interop.programs import bun_client
from pages import ROOT, Block, blocks, text_of
from patience import PATIENCE

from trio_bunws import WebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PAGES = ["howto/from-bun.md", "howto/from-websockets.md", "howto/from-trio-websocket.md", "howto/from-fastapi.md"]
ADDRESS = re.compile(r"(?:port |127\.0\.0\.1:|localhost:)(\d+)")


def ours(page: str) -> Block:
    """Return the program of trio_bunws, the last one of a page."""
    return blocks(page)[-1]


def command(folder: Path, page: str, block: Block) -> list[str]:
    """Write a program; return how it is started, on a free port."""
    assert "3000" in block.source or page.endswith("fastapi.md")
    file = folder / f"room.{'ts' if block.kind == 'ts' else 'py'}"
    file.write_text(block.source.replace("3000", "0"))
    if block.kind == "ts":
        return [bun_client()[0], str(file)]
    if block.fragment is not None:
        return [sys.executable, "-m", "uvicorn", "room:app", "--port", "0"]
    return [sys.executable, str(file)]


@asynccontextmanager
async def running(folder: Path, started: list[str]) -> AsyncGenerator[str]:
    """Run a program until it has told its port; yield the URL of its room."""
    process = await trio.lowlevel.open_process(
        started, cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        said = ""
        while (found := ADDRESS.search(said)) is None or not said.endswith("\n"):
            part = await process.stdout.receive_some()
            assert part, said
            said += part.decode()
        yield f"ws://127.0.0.1:{found[1]}/room"
    finally:
        process.kill()
        with trio.move_on_after(PATIENCE, shield=True):
            await process.wait()
            await process.stdout.aclose()


async def behaves(url: str) -> None:
    """Be two members of the room."""
    async with WebSocket(f"{url}?name=ada") as ada:
        async with WebSocket(f"{url}?name=grace") as grace:
            assert await ada.receive() == "grace joined"
            grace.send("hello")
            assert await ada.receive() == "grace: hello"
            ada.send("hi")
            assert await grace.receive() == "ada: hi"  # and not what she said herself
        assert await ada.receive() == "grace left"


def theirs() -> list[tuple[str, Block]]:
    """List what the pages show of others, but for what is not installed."""
    found = [(page, block) for page in PAGES for block in [*blocks(page, "ts"), *blocks(page)[:-1]]]
    assert len(found) == len(PAGES)
    return [pair for pair in found if pair[1].fragment is None or importlib.util.find_spec("fastapi") is not None]


@pytest.mark.parametrize(("page", "block"), theirs(), ids=lambda value: value if isinstance(value, str) else "")
async def test_their_room_behaves_as_the_page_has_it(tmp_path: Path, page: str, block: Block) -> None:
    with trio.fail_after(PATIENCE):
        async with running(tmp_path, command(tmp_path, page, block)) as url:
            await behaves(url)


async def test_our_room_behaves_likewise(tmp_path: Path) -> None:
    page = PAGES[0]
    with trio.fail_after(PATIENCE):
        async with running(tmp_path, command(tmp_path, page, ours(page))) as url:
            await behaves(url)


@pytest.mark.parametrize("page", PAGES)
def test_our_room_is_the_same_on_each_page(page: str) -> None:
    assert ours(page).source == ours(PAGES[0]).source
    assert "## What to know" in text_of(page)
