"""docs/security.md against the code: its examples do what it says, its limits are the defaults, its tests exist.

Whether a test shows the promise is for the reader. What each one tests is its own file's business.
"""

from __future__ import annotations

import inspect
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import trio_bunws
from trio_bunws import open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text("utf-8")
SESSIONS = re.findall(r"^@nox\.session\b.*\ndef (\w+)", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE)
UNITS = {"KiB": 1024, "MiB": 1024 * 1024, "s": 1, "": 1}
OWN, EVIL = "https://chat.example", "https://evil.example"


def example(word: str) -> dict[str, Any]:
    """Run the one example that has this word, and return its names."""
    (source,) = [code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if word in code]
    names: dict[str, Any] = {}
    exec(compile(source, "security.md", "exec", dont_inherit=True), names)
    return names


def promises() -> list[str]:
    """Return the lines of the first table that say how something is tested."""
    (table,) = re.findall(r"\| promise \| how it is tested \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT)
    return str(table).splitlines()


def limits() -> list[tuple[str, str]]:
    """Return name and default of each limit in the second table."""
    return re.findall(r"^\| `([\w.]+)` \| ([\w, ]+) \|", TEXT, re.MULTILINE)


@asynccontextmanager
async def door() -> AsyncGenerator[tuple[RawPeer, dict[str, Any]]]:
    """Serve the page's `fetch`, with somebody before it."""
    listener = MemoryListener()
    names = example("compare_digest")
    async with open_server(names["fetch"], trio_bunws.WebSocketHandler(), listeners=[listener]):
        yield RawPeer(await listener.connect()), names


async def answer(peer: RawPeer, origin: str | None, session: str | None) -> int:
    """Shake hands as a page of this origin and return the status."""
    headers = [("Origin", origin), ("Cookie", None if session is None else f"session={session}")]
    await peer.send(peer.request("/chat", [(name, value) for name, value in headers if value is not None]))
    return int((await peer.receive_until(b"\r\n")).split()[1])


@pytest.mark.parametrize(("origin", "status"), [(OWN, 101), (None, 101), (EVIL, 403), ("null", 403), (f"{OWN}:1", 403)])
async def test_a_foreign_page_gets_no_socket_though_its_visitor_is_logged_in(
    autojump_clock: MockClock,  # noqa: ARG001 - stop waits
    origin: str | None,
    status: int,
) -> None:
    async with door() as (peer, names):
        assert await answer(peer, origin, names["new_session"]("ada")) == status


async def test_who_is_not_logged_in_gets_no_socket(autojump_clock: MockClock) -> None:  # noqa: ARG001 - stop waits
    async with door() as (peer, _):
        assert await answer(peer, OWN, None) == 401


@pytest.mark.parametrize("user", ["ada", "ada.lovelace", "", "Ådå"])
def test_a_session_is_its_users_until_it_ends(user: str) -> None:
    names = example("compare_digest")
    assert names["user_of"](names["new_session"](user)) == user
    assert names["user_of"](names["new_session"](user, lifetime=-1)) is None


def test_a_forged_session_is_nobodys() -> None:
    names = example("compare_digest")
    user_of, session = names["user_of"], names["new_session"]("ada")
    claim, _, signature = session.rpartition(".")
    later = f"ada.{int(time.time()) + 10**9}"
    forged = [
        "",
        ".",
        "ada",
        claim,
        f"{claim}.",
        f"{later}.{signature}",
        f"eve{session[3:]}",
        f"{claim}.é",
        f"{session}0",
    ]
    assert [user_of(one) for one in forged] == [None] * len(forged)
    assert example("compare_digest")["user_of"](session) is None  # signed with another secret


async def test_a_peer_that_is_too_fast_is_closed_after_its_burst(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with room() as (ada, grace):
        for _ in range(21):
            await ada.send_text('{"type": "say", "text": "hi"}')
        assert [await grace.receive_text() for _ in range(20)] == ['{"text": "hi"}'] * 20
        assert await ada.receive_close() == (1008, "too fast")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("hello", 1007),
        ("[" * 10_000, 1007),
        ("9" * 10_000, 1007),
        ("{}", 1008),
        ('{"type": "say", "text": ""}', 1008),
        ('{"type": "say", "text": ["hi"]}', 1008),
    ],
)
async def test_a_senseless_message_closes_its_sender(
    autojump_clock: MockClock,  # noqa: ARG001 - stop waits
    caplog: pytest.LogCaptureFixture,
    message: str,
    code: int,
) -> None:
    async with room() as (ada, _):
        await ada.send_text(message)
        assert (await ada.receive_close())[0] == code
    assert caplog.records == []


@asynccontextmanager
async def room() -> AsyncGenerator[tuple[RawPeer, RawPeer]]:
    """Serve the page's handler, with two people in its room."""
    listener = MemoryListener()
    names = example("BURST")
    handler = names["handler"].on_open(lambda ws: ws.subscribe("room"))

    def fetch(request: trio_bunws.Request, server: trio_bunws.Server[Any]) -> None:
        assert server.upgrade(request, data=names["Member"]())

    async with open_server(fetch, handler, listeners=[listener]):
        ada, grace = RawPeer(await listener.connect()), RawPeer(await listener.connect())
        await ada.upgrade()
        await grace.upgrade()
        yield ada, grace


@pytest.mark.parametrize("line", promises(), ids=lambda line: line[2:60])
def test_every_promise_is_tested_by_what_exists(line: str) -> None:
    how = re.findall(r"`([^`]+)`", line.split("|")[2])
    assert how
    for name in how:
        if name.startswith("nox -s "):
            assert name.removeprefix("nox -s ") in SESSIONS
        else:
            assert name.startswith("tests/test_")
            assert (ROOT / name).is_file()


@pytest.mark.parametrize(("name", "shown"), limits(), ids=lambda value: value)
def test_a_limit_of_the_page_is_the_default(name: str, shown: str) -> None:
    owner, _, argument = name.partition(".")
    default = inspect.signature(getattr(trio_bunws, owner)).parameters[argument].default
    number, _, unit = shown.partition(" ")
    assert default == (None if shown == "none" else int(number.replace(",", "")) * UNITS[unit])


def test_every_limit_is_on_the_page() -> None:
    named = {name for name, _ in limits()}
    assert {f"Limits.{field.name}" for field in attrs.fields(trio_bunws.Limits)} - named == set()
    assert len(named) == len(limits()) == 16
