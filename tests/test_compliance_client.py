"""What Autobahn's suite is told of our client: the runs are those of the promise, and the client under test echoes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from compliance.client_runs import CLIENT_RUNS
from compliance.echo_client import MAX_FRAGMENTS, client, run_case

from trio_bunws import PerMessageDeflate, ServerWebSocket, WebSocketHandler, open_server

if TYPE_CHECKING:
    from compliance.runs import Run

GROUPS = {f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)}


def test_the_groups_of_the_promise_are_run() -> None:
    assert set(CLIENT_RUNS["client-plain"].cases) == GROUPS
    assert {case.partition(".")[0] for case in CLIENT_RUNS["client-deflate"].cases} == {"12", "13"}
    assert set(CLIENT_RUNS["client-whole"].cases) == GROUPS | {"12.*", "13.*"}


@pytest.mark.parametrize("run", CLIENT_RUNS.values(), ids=CLIENT_RUNS.keys())
async def test_the_client_is_an_echo(run: Run) -> None:
    messages: list[str | bytes] = ["€", b"\x00\xff", "", b"", "x" * 70_000]
    heard: list[str | bytes] = []

    def opened(ws: ServerWebSocket) -> None:
        for message in messages:
            ws.send(message)

    def message(ws: ServerWebSocket, message: str | bytes) -> None:
        heard.append(message)
        if len(heard) == len(messages):
            ws.close()

    deflate = PerMessageDeflate(compress="dedicated", decompress="dedicated")
    handler: WebSocketHandler[None] = WebSocketHandler(open=opened, message=message, per_message_deflate=deflate)
    async with open_server(None, handler, port=0) as server:
        ws = client(run, f"ws://127.0.0.1:{server.port}/")
        await run_case(ws)
        assert bool(ws.extensions) is (run.options.get("per_message_deflate") is not False)
    assert heard == messages


def test_the_client_takes_as_many_fragments_as_the_suite_sends() -> None:
    assert MAX_FRAGMENTS >= 4 * 1024 * 1024 // 64
