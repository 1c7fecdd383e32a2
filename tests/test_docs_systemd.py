"""docs/howto/systemd.md: its units are what systemd understands, and its program takes a socket that it inherits."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from pages import DOCS, ROOT, blocks
from patience import PATIENCE

from trio_bunws import WebSocket
from trio_bunws._cli.command_line import parser

if TYPE_CHECKING:
    from pathlib import Path

UNITS = ("chat.service", "chat.socket")
COMMAND = "/srv/chat/.venv/bin/trio-bunws"


@pytest.fixture(name="units")
def _units(tmp_path: Path) -> Path:
    """Copy the units; the program that they start exists here."""
    program = tmp_path / "trio-bunws"
    program.touch(mode=0o755)
    for name in UNITS:
        text = (DOCS / "howto" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(COMMAND, str(program)).replace("/srv/chat", str(tmp_path)))
    return tmp_path


def verify(units: Path) -> str:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    command = [analyze, "verify", *(str(units / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if str(units) in line)


def test_the_units_are_understood(units: Path) -> None:
    assert verify(units) == ""


def test_a_mistake_in_a_unit_would_be_found(units: Path) -> None:
    with (units / "chat.service").open("a") as file:
        file.write("[Service]\nTimeoutStop=15\n")
    assert "TimeoutStop" in verify(units)


def test_the_command_is_one_that_exists() -> None:
    text = (DOCS / "howto" / "chat.service").read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert program == COMMAND
    assert parser().parse_args(arguments).unix == "/run/chat/chat.sock"


async def test_the_program_serves_the_socket_that_it_was_given_and_ends_on_sigterm(tmp_path: Path) -> None:
    (block,) = blocks("howto/systemd.md")
    (tmp_path / "chat.py").write_text(block.source)
    with socket.create_server(("127.0.0.1", 0)) as listening, trio.fail_after(PATIENCE):
        # A shell, because LISTEN_PID is only known to the process itself.
        start = f"LISTEN_FDS=1 LISTEN_PID=$$ exec {shlex.quote(sys.executable)} chat.py 3<&{listening.fileno()}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = await trio.lowlevel.open_process(
            ["bash", "-c", start], cwd=tmp_path, env=environment, pass_fds=[listening.fileno()]
        )
        try:
            url = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
            async with WebSocket(url, open_timeout=PATIENCE) as client:
                client.send("hello")
                assert await client.receive() == "hello"
                process.send_signal(signal.SIGTERM)
                assert (await client.closed()).code == 1001
            assert await process.wait() == 0
        finally:
            process.kill()
            with trio.move_on_after(PATIENCE, shield=True):
                await process.wait()
