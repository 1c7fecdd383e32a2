"""docs/tutorial: each step's code is complete, and does what its page says; the tests of the last step pass."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from pages import ROOT, Answer, ask, blocks, ran

from trio_bunws import HandshakeError, WebSocket, open_server, serve
from trio_bunws.testing import MemoryListener, stalled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from trio.testing import MockClock

ORIGIN = {"Origin": "http://127.0.0.1:3000"}
PAGES = {"page.html": "tutorial/2-everybody.md", "login.html": "tutorial/4-logins.md"}
EVERYBODY, ROOMS, LOGINS, BACKPRESSURE = (
    "tutorial/2-everybody.md",
    "tutorial/3-rooms.md",
    "tutorial/4-logins.md",
    "tutorial/5-backpressure.md",
)


class Step:
    """The chat of one step, served in memory."""

    def __init__(self, names: dict[str, Any], listener: MemoryListener) -> None:
        self.names = names
        self._listener = listener

    async def connect(self, query: str = "", **headers: str) -> WebSocket:
        stream = await self._listener.connect()
        return WebSocket(f"ws://chat.test/chat{query}", headers=headers, stream=stream, ping_interval=0)

    async def refusal(self, query: str = "", **headers: str) -> int:
        with pytest.raises(HandshakeError) as refused:
            async with await self.connect(query, **headers):
                pass
        return refused.value.status

    async def ask(self, target: str, body: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request: `GET /` or `POST /login`."""
        return await ask(await self._listener.connect(), target, body, headers or {})


@asynccontextmanager
async def step(page: str) -> AsyncGenerator[Step]:
    listener = MemoryListener()
    with ran(page) as here:
        async with open_server(here.names["fetch"], here.names["websocket"], listeners=[listener]):
            yield Step(here.names, listener)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder with the pages that the tutorial gives."""
    for name, page in PAGES.items():
        (block,) = blocks(page, "html")
        (tmp_path / name).write_text(block.source)
    monkeypatch.chdir(tmp_path)


async def lines(client: WebSocket, count: int) -> list[str | bytes]:
    return [await client.receive() for _ in range(count)]


async def test_1_five_lines_send_back_what_comes(autojump_clock: MockClock) -> None:  # noqa: ARG001 - stop waits
    (block,) = blocks("tutorial/1-five-lines.md")
    assert len([line for line in block.source.splitlines() if line]) == 5
    listener = MemoryListener()
    with ran("tutorial/1-five-lines.md") as page:
        ((what, fetch, handler),) = page.runs
        assert what is serve
        async with (
            open_server(fetch, handler, listeners=[listener]),
            WebSocket("ws://chat.test/", stream=await listener.connect()) as client,
        ):
            client.send("hello")
            assert await client.receive() == "hello"


async def test_2_everybody_hears_everybody(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with step(EVERYBODY) as chat, await chat.connect("?name=Ada") as ada:
        async with await chat.connect("?name=Grace") as grace, await chat.connect() as other:
            ada.send("hello")
            assert await lines(ada, 4) == [
                "Ada has come.",
                "Grace has come.",
                "somebody has come.",
                "Ada: hello",
            ]
            assert await lines(grace, 3) == ["Grace has come.", "somebody has come.", "Ada: hello"]
            other.send(b"binary")
            other.send("text")
            assert await ada.receive() == "somebody: text"
        assert sorted(map(str, await lines(ada, 2))) == ["Grace has gone.", "somebody has gone."]


async def test_2_the_page_is_served_and_nothing_else() -> None:
    async with step(EVERYBODY) as chat:
        page = await chat.ask("GET /?name=Ada")
        assert (page.status, page.headers["content-type"]) == (200, "text/html;charset=utf-8")
        assert "new WebSocket" in page.body
        assert [(await chat.ask(f"GET {path}")).status for path in ("/chat", "/chat.py")] == [426, 404]


async def test_3_a_room_hears_only_its_own(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with (
        step(ROOMS) as chat,
        await chat.connect("?name=Ada&room=garden") as ada,
        await chat.connect("?name=Grace") as grace,
        await chat.connect("?room=garden") as other,
    ):
        grace.send("hello lobby")
        other.send("hello garden")
        assert await lines(grace, 3) == ["Welcome to the lobby, Grace.", "Grace has come.", "Grace: hello lobby"]
        assert await lines(ada, 4) == [
            "Welcome to the garden, Ada.",
            "Ada has come.",
            "somebody has come.",
            "somebody: hello garden",
        ]
        assert json.loads((await chat.ask("GET /rooms")).body) == {"garden": 2, "lobby": 1}


async def logged_in(chat: Step, name: str) -> dict[str, str]:
    """Log in as the page does; return what the browser then sends."""
    answer = await chat.ask("POST /login", f"name={name}&password={chat.names['PASSWORD']}", ORIGIN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
    return {**ORIGIN, "Cookie": cookie}


@pytest.mark.parametrize("page", [LOGINS, BACKPRESSURE])
async def test_4_only_who_is_logged_in_at_our_page_comes_in(page: str) -> None:
    async with step(page) as chat:
        assert await chat.refusal(**ORIGIN) == 401
        assert "Log in" in (await chat.ask("GET /")).body
        assert (await chat.ask("POST /login", "name=Ada&password=guessed", ORIGIN)).status == 403
        assert (await chat.ask("POST /login", f"name=&password={chat.names['PASSWORD']}", ORIGIN)).status == 403
        ada = await logged_in(chat, "Ada")
        assert await chat.refusal(**{**ada, "Origin": "https://evil.example"}) == 403
        assert "new WebSocket" in (await chat.ask("GET /", headers=ada)).body
        async with await chat.connect(**ada) as client:
            assert "Ada" in str(await client.receive())


@pytest.mark.parametrize("page", [LOGINS, BACKPRESSURE])
async def test_4_logging_out_closes_the_sockets_of_the_login(
    page: str,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    async with step(page) as chat:
        ada, grace = await logged_in(chat, "Ada"), await logged_in(chat, "Grace")
        async with await chat.connect(**ada) as hers, await chat.connect(**grace) as other:
            assert (await chat.ask("POST /logout", headers=ada)).status == 303
            assert (await hers.closed()).code == 4001
            assert await chat.refusal(**ada) == 401
            while await other.receive() != "Ada has gone.":
                pass


async def test_5_a_newcomer_gets_the_last_lines_at_its_own_pace(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with step(BACKPRESSURE) as chat:
        kept = chat.names["KEPT"] = 150
        room = chat.names["ROOMS"]["lobby"]
        for number in range(kept + 500):
            room.add(f"{number} {'x' * 1000}")  # 150 KB are kept, of which 64 KiB may wait
        assert len(room.lines) == kept
        ada = await logged_in(chat, "Ada")
        async with await chat.connect(**ada) as client:
            with stalled(client):
                await trio.testing.wait_all_tasks_blocked()
                assert json.loads((await chat.ask("GET /health")).body) == {"sockets": 1, "behind": 1, "drops": 0}
            heard = await lines(client, kept + 1)
            assert [str(line).split()[0] for line in heard] == [*map(str, range(500, kept + 500)), "Ada"]


async def test_5_what_is_out_of_bounds_is_refused(autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with step(BACKPRESSURE) as chat:
        ada = await logged_in(chat, "Ada")
        assert await chat.refusal("?room=attic", **ada) == 404
        async with await chat.connect(**ada) as client:
            client.send("x" * 2001)
            assert (await client.closed()).code == 1009
        async with await chat.connect(**ada) as client:
            for _ in range(chat.names["BURST"] + 1):
                client.send("spam")
            assert (await client.closed()).reason == "too fast"


def test_6_the_tests_of_the_last_step_pass_and_would_fail(tmp_path: Path) -> None:
    (chat,), (tests,), (settings,) = (
        blocks(BACKPRESSURE),
        blocks("tutorial/6-tests.md"),
        blocks("tutorial/6-tests.md", "ini"),
    )
    (tmp_path / "test_chat.py").write_text(tests.source)
    (tmp_path / "pytest.ini").write_text(settings.source)
    broken = chat.source.replace("if not PAGES.check(request)", "if False").replace("ws.close(1008", "ws.close(1000")
    outcomes: list[str] = []
    for source in (chat.source, broken):
        (tmp_path / "chat.py").write_text(source)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        outcomes.append(run.stdout.splitlines()[-1].partition(" in ")[0])
    assert outcomes == ["7 passed", "2 failed, 5 passed"]
