"""What the examples promise, beside how their pages look: that is test_examples_pages.py.

Those without HTTP of their own are tried in memory, the others as processes.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
import sys
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
import trio
from echo import ECHO
from json_rpc import CALLS_AT_ONCE, JSON_RPC
from patience import PATIENCE
from presence import MAX_PEOPLE, PRESENCE, fetch as presence_fetch
from running_examples import EXAMPLES, running_example
from ticker import Ticker

from trio_bunws import HandshakeError, WebSocket, open_server
from trio_bunws.testing import MemoryListener, open_pair, stalled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trio.testing import MockClock

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
TOKEN = "a token that only programs know"
COOKIE = tuple[tuple[str, str], ...]


async def events(ws: WebSocket, count: int) -> list[Any]:
    """Return the next messages, which are JSON."""
    got: list[Any] = []
    while len(got) < count:
        with trio.fail_after(PATIENCE):
            got.append(json.loads(await ws.receive()))
    return got


# echo


async def test_echo_sends_back_text_as_text_and_bytes_as_bytes() -> None:
    async with open_pair(ECHO) as (_server, client):
        for message in "hello", b"\x00\xff", "":
            client.send(message)
            assert await client.receive() == message


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"notifications", "upload"}))
def test_an_example_starts_as_its_first_line_says_and_ends_with_ctrl_c(name: str) -> None:
    with running_example(name) as port:
        assert port


@pytest.mark.parametrize(
    ("port", "words"),
    [("eighty", "argument {}: invalid int value: 'eighty'"), ("70000", "there is no port 70000")],
)
@pytest.mark.parametrize("name", [*NAMES, "chat/server"])
def test_what_is_no_port_is_told_without_a_traceback(name: str, port: str, words: str) -> None:
    option = [f"--port={port}"] if name == "chat/server" else [port]
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *option]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    words = words.format("--port" if name == "chat/server" else "port")
    assert done.stderr.endswith(f"{name.rpartition('/')[2]}.py: error: {words}\n")


# ticker


async def test_a_slow_reader_of_the_ticker_gets_fewer_values_and_the_latest_and_the_others_get_all(
    autojump_clock: MockClock,
) -> None:
    ticker, listener = Ticker(), MemoryListener()
    async with (
        open_server(ticker.fetch, ticker.websocket, listeners=[listener]) as server,
        WebSocket("ws://ticker/ticks", stream=await listener.connect()) as fast,
        WebSocket("ws://ticker/ticks", stream=await listener.connect()) as slow,
        WebSocket("ws://ticker/board", stream=await listener.connect()) as board,
        trio.open_nursery() as nursery,
    ):
        assert [event.get("reader", event.get("n")) for event in await events(fast, 2)] == [1, 0]
        assert [event.get("reader", event.get("n")) for event in await events(slow, 2)] == [2, 0]
        nursery.start_soon(ticker.run, server)
        with stalled(slow):
            received = [event["n"] for event in await events(fast, 40)]
            assert received == list(range(1, 41))
            (row,) = (await events(board, 40))[-1]["readers"][1:]
            # One is on its way, one waits, and the 40th has just been published.
            assert (row["dropped"], row["drains"]) == (37, 0)
            assert row["unsent"] > 0
        received = [event["n"] for event in await events(slow, 4)]
        assert received == [1, 2, 40, 41]
        (row,) = (await events(board, 1))[0]["readers"][1:]
        assert (row["dropped"], row["drains"] > 0, row["unsent"]) == (38, True, 0)
        assert autojump_clock.current_time() < 2
        nursery.cancel_scope.cancel()


# JSON-RPC


async def rpc(client: WebSocket, message: str) -> Any:  # noqa: ANN401  # JSON
    client.send(message)
    return (await events(client, 1))[0]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ('{"jsonrpc": "2.0", "method": "divide", "params": [1, 8], "id": 1}', {"result": 0.125, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "divide", "params": {"b": 8, "a": 1}, "id": "x"}', {"result": 0.125, "id": "x"}),
        ('{"jsonrpc": "2.0", "method": "factorial", "params": [20], "id": null}', {"result": "2432902008176640000"}),
        ('{"jsonrpc": "2.0", "method": "divide", "params": [1, 0], "id": 1}', {"error": 1, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "factorial", "params": [-1], "id": 1}', {"error": -32602, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', {"error": -32601, "id": "1"}),
        ('{"jsonrpc": "2.0", "method": "divide", "params": [1], "id": 1}', {"error": -32602, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "divide", "params": [1, 2, 3], "id": 1}', {"error": -32602, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "divide", "params": {"a": "1", "b": 2}, "id": 1}', {"error": -32602, "id": 1}),
        (
            '{"jsonrpc": "2.0", "method": "divide", "params": {"a": 1, "b": 2, "c": 3}, "id": 1}',
            {"error": -32602, "id": 1},
        ),
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', {"error": -32700, "id": None}),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', {"error": -32600, "id": None}),
        ('{"method": "divide", "params": [1, 2], "id": 1}', {"error": -32600, "id": None}),
        ("[]", {"error": -32600, "id": None}),
        ("7", {"error": -32600, "id": None}),
    ],
)
async def test_a_call_is_answered_as_json_rpc_says(message: str, answer: dict[str, object]) -> None:
    async with open_pair(JSON_RPC) as (_server, client):
        got = await rpc(client, message)
        assert got.pop("jsonrpc") == "2.0"
        if "error" in got:
            assert got["error"]["message"]
            got["error"] = got["error"]["code"]
        assert got == {"id": None, **answer}


async def test_a_batch_is_answered_in_one_message_and_a_notification_not_at_all() -> None:
    one = '{"jsonrpc": "2.0", "method": "divide", "params": [1, 2], "id": 1}'
    silent = '{"jsonrpc": "2.0", "method": "divide", "params": [1, 0]}'
    async with open_pair(JSON_RPC) as (_server, client):
        client.send(silent)
        client.send(f"[{silent}, {silent}]")
        answers = await rpc(client, f"[{one}, {silent}, 1, {one}]")
        assert [answer.get("result", answer.get("error", {}).get("code")) for answer in answers] == [0.5, -32600, 0.5]


async def test_calls_run_beside_each_other_and_end_with_the_connection(autojump_clock: MockClock) -> None:
    count = '{"jsonrpc": "2.0", "method": "countdown", "params": [3, 1], "id": 1}'
    forever = '{"jsonrpc": "2.0", "method": "countdown", "params": [1000000, 60], "id": 2}'
    async with open_pair(JSON_RPC) as (server, client):
        client.send(count)
        assert (await rpc(client, '{"jsonrpc": "2.0", "method": "divide", "params": [1, 2], "id": 1}'))["params"] == [3]
        told = await events(client, 4)
        assert [one.get("params", one.get("result")) for one in told] == [0.5, [2], [1], "lift-off"]
        for _ in range(CALLS_AT_ONCE + 1):
            client.send(forever)
        await events(client, CALLS_AT_ONCE)
        assert autojump_clock.current_time() < 60, "the last one waits until another has ended"
        client.close()
        await client.closed()
        await server.stop()


# Notifications


@pytest.fixture(name="feed", scope="module")
def notifications() -> Iterator[int]:
    with running_example("notifications", TOKEN=TOKEN) as port:
        yield port


def post(port: int, path: str, body: str, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def published(port: int, title: str, **to: str) -> int:
    body = json.dumps({"title": title, "text": "...", **to})
    status, _, answer = post(port, "/publish", body, Authorization=f"Bearer {TOKEN}")
    assert status == 202
    return int(json.loads(answer)["readers"])


def log_in(port: int, name: str) -> COOKIE:
    status, headers, _ = post(port, "/login", json.dumps({"name": name}))
    assert status == 204
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    return (("Cookie", headers["Set-Cookie"].partition(";")[0]),)


async def test_a_notification_reaches_whom_it_concerns_and_waits_for_who_is_away(feed: int) -> None:
    ada, grace = log_in(feed, "ada"), log_in(feed, "grace")
    url = f"ws://127.0.0.1:{feed}/feed"
    async with AsyncExitStack() as stack:
        windows = [await stack.enter_async_context(WebSocket(url, headers=who)) for who in (ada, ada, grace)]
        assert published(feed, "for ada", to="ada") == 2
        assert published(feed, "for all") == 3
        seen = [[one["title"] for one in await events(window, 2)] for window in windows[:2]]
        assert seen == [["for ada", "for all"]] * 2
        (last,) = await events(windows[2], 1)
        assert last["title"] == "for all"
    published(feed, "for ada again", to="ada")
    published(feed, "for grace", to="grace")
    async with WebSocket(f"{url}?after={last['id']}", headers=grace) as back:
        assert [one["title"] for one in await events(back, 1)] == ["for grace"]


async def test_only_the_token_publishes_and_only_the_cookie_reads(feed: int) -> None:
    body = '{"title": "x", "text": "y"}'
    for authorization in {}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}x"}:
        status, headers, _ = post(feed, "/publish", body, **authorization)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    cookie = log_in(feed, "ada")
    forged = (("Cookie", cookie[0][1].replace("ada", "grace")),)
    elsewhere = (*cookie, ("Origin", "https://evil.example"))
    for refused, headers_ in (401, ()), (401, forged), (403, elsewhere):
        with pytest.raises(HandshakeError) as failure:
            async with WebSocket(f"ws://127.0.0.1:{feed}/feed", headers=headers_):
                pytest.fail("it must not open")
        assert failure.value.status == refused


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/publish", "title=x", 400),
        ("/publish", '{"title": "", "text": "y"}', 422),
        ("/publish", '{"title": "x", "text": "y", "too": "ada"}', 422),
        ("/publish", "x" * 5000, 413),
        ("/login", '{"name": "Robert\'); DROP TABLE"}', 422),
        ("/login", '{"name": 7}', 422),
        ("/nothing", "{}", 404),
    ],
)
def test_a_senseless_request_is_refused(feed: int, path: str, body: str, status: int) -> None:
    assert post(feed, path, body, Authorization=f"Bearer {TOKEN}")[0] == status


# Presence


async def test_everybody_in_a_room_knows_who_is_here_who_is_away_and_where_they_point() -> None:
    listener = MemoryListener()

    async def enter(name: str, room: str = "garden") -> WebSocket:
        url = f"ws://presence/presence?name={name}&room={room}"
        return await stack.enter_async_context(WebSocket(url, stream=await listener.connect()))

    async with open_server(presence_fetch, PRESENCE, listeners=[listener]), AsyncExitStack() as stack:
        ada = await enter("Ada")
        you, _alone = await events(ada, 2)
        grace, _linus = await enter("Grace"), await enter("Linus", "attic")
        assert [one["name"] for one in (await events(ada, 1))[0]["people"]] == ["Ada", "Grace"]
        assert [one["name"] for one in (await events(grace, 2))[1]["people"]] == ["Ada", "Grace"]
        ada.send('{"x": 0.5, "y": 0}')
        assert await events(grace, 1) == [{"id": you["you"], "x": 0.5, "y": 0}]
        ada.send('{"away": true}')
        assert [one["away"] for one in (await events(grace, 1))[0]["people"]] == [True, False]
        grace.send("no JSON")
        assert (await grace.closed()).code == 1007
        assert [one["name"] for one in (await events(ada, 2))[1]["people"]] == ["Ada"]


async def test_a_room_has_an_end() -> None:
    listener = MemoryListener()
    async with open_server(presence_fetch, PRESENCE, listeners=[listener]), AsyncExitStack() as stack:

        async def enter(query: str) -> None:
            ws = WebSocket(f"ws://presence/presence?{query}", stream=await listener.connect())
            await stack.enter_async_context(ws)

        for _ in range(MAX_PEOPLE):
            await enter("name=x&room=y")
        for query, status in ("name=x&room=Y", "503"), ("name=&room=x", "422"), ("name=x", "422"):
            with pytest.raises(HandshakeError, match=status):
                await enter(query)


# Upload


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_file_is_stored_whole_under_a_tame_name_and_the_socket_pauses_for_the_disk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    with running_example("upload", str(tmp_path)) as port:
        query = f"name=../../.My%20photo.jpg&size={len(content)}"
        async with WebSocket(f"ws://127.0.0.1:{port}/upload?{query}&slow=1", max_inbox=1000) as ws:
            for at in range(0, len(content), 16384):
                await ws.send_wait(content[at : at + 16384])
            *steps, done = [json.loads(message) async for message in ws]
            assert (await ws.closed()).code == 1000
        assert [step["written"] for step in steps] == list(range(16384, len(content) + 1, 16384))
        assert {step["paused"] for step in steps} == {True, False}
        assert done["sha256"] == hashlib.sha256(content).hexdigest()
        assert done["file"].endswith("-My-photo.jpg")
        async with WebSocket(f"ws://127.0.0.1:{port}/upload?size=0") as ws:
            assert [json.loads(message)["file"][-5:] async for message in ws] == ["-file"]
    stored = contents(tmp_path)
    assert stored[done["file"]] == content
    assert sorted(map(len, stored.values())) == [0, len(content)]


async def test_a_file_that_is_not_sent_whole_leaves_nothing(tmp_path: Path) -> None:
    with running_example("upload", str(tmp_path)) as port:
        url = f"ws://127.0.0.1:{port}/upload?name=x"
        async with WebSocket(f"{url}&size=3") as ws:
            ws.send(b"four")
            assert json.loads(await ws.receive())["written"] == 4
            assert (await ws.closed()).code == 1008
        async with WebSocket(f"{url}&size=1000") as ws:
            ws.send(b"so far")
            assert json.loads(await ws.receive())["written"] == 6
        for size in "", "-1", "1e9", "9" * 12:
            with pytest.raises(HandshakeError, match="413"):
                async with WebSocket(f"{url}&size={size}"):
                    pytest.fail("it must not open")
    assert contents(tmp_path) == {}


def test_the_table_of_examples_names_them_all() -> None:
    table = (EXAMPLES / "README.md").read_text("utf-8")
    assert [name for name in NAMES if f"python examples/{name}.py" not in table] == []
