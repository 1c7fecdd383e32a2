"""What the README shows is true: its server runs as it stands there, and its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import trio

from trio_bunws import open_server, serve
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SETUP = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox"


def pasted() -> tuple[Callable[..., Any], Any]:
    """Run the README's server up to `trio.run`, and return the `fetch` and the handler that it serves."""
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert source.count("\n") == 15
    with mock.patch.object(trio, "run") as run:
        exec(compile(source, "README.md", "exec", dont_inherit=True), {})
    run.assert_called_once()
    what, fetch, handler = run.call_args.args
    assert what is serve
    return fetch, handler


async def test_the_server_of_the_readme_is_a_room(autojump_clock: MockClock) -> None:  # noqa: ARG001 - stop waits
    listener = MemoryListener()
    async with open_server(*pasted(), listeners=[listener]):
        ada, grace = RawPeer(await listener.connect()), RawPeer(await listener.connect())
        await ada.upgrade("/?name=ada")
        await grace.upgrade("/?name=grace")
        await ada.send_text("hello")
        assert await grace.receive_text() == "ada: hello"


async def test_a_browser_is_told_what_to_connect_with(autojump_clock: MockClock) -> None:  # noqa: ARG001 - stop waits
    listener = MemoryListener()
    async with open_server(*pasted(), listeners=[listener]):
        browser = RawPeer(await listener.connect())
        await browser.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await browser.receive_until(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await browser.receive_until(b"ws://127.0.0.1:3000/?name=ada")


def test_there_are_exactly_two_commands_and_ci_runs_the_second() -> None:
    assert [line for line in README.splitlines() if "bin/nox" in line] == [f"{SETUP} -s chat", SETUP]
    assert f"command='{SETUP}'" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_folder_has_its_row() -> None:
    table = README.partition("## Where things are")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([\w./]+)/`", table))
    there = {path.parent.relative_to(ROOT) for path in (ROOT / "trio_bunws").glob("*/*.*") if path.suffix != ".pyc"}
    assert len(there) > 5
    assert {folder.as_posix() for folder in there} - told == set()
    assert [folder for folder in sorted(told) if not (ROOT / folder).is_dir()] == []
