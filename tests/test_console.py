"""The user's side of a conversation, on a pseudo-terminal and on pipes."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from terminals import Terminal, pipes, terminal

from trio_bunws._cli.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = 3  # in what tcgetattr returns


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture(name="window")
def _window() -> Iterator[Terminal]:
    with terminal() as made:
        yield made


def on(window: Terminal) -> Console:
    return Console(window.descriptor, window.descriptor, window.descriptor)


async def test_lines_are_read_from_a_pipe_as_they_are() -> None:
    with pipes(3) as (given, out, err):
        console = Console(given.reader, out.writer, err.writer)
        assert not console.interactive
        given.put("one\r\ntwö\n\nla".encode())
        with console.prompt():
            assert [await console.read_line() for _ in range(3)] == ["one", "twö", ""]
            given.put(b"st")
            given.end()
            assert [await console.read_line() for _ in range(2)] == ["last", None]
        await console.refresh()
        assert (out.get(), err.get()) == ("", "")


async def test_a_line_of_a_pipe_may_come_in_pieces() -> None:
    with pipes(1) as (given,):
        console = Console(given.reader)
        lines: list[str | None] = []

        async def read() -> None:
            lines.append(await console.read_line())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for piece in (b"o", b"n", b"e\n"):
                await trio.testing.wait_all_tasks_blocked()
                given.put(piece)
        assert lines == ["one"]


async def test_a_pipe_that_ends_with_a_line_has_no_more() -> None:
    with pipes(1) as (given,):
        given.put(b"one\n")
        given.end()
        console = Console(given.reader)
        assert [await console.read_line() for _ in range(2)] == ["one", None]


async def test_a_pipe_must_be_utf_8() -> None:
    with pipes(1) as (given,):
        given.put(b"\xff\n")
        with pytest.raises(UnicodeDecodeError):
            await Console(given.reader).read_line()


async def test_messages_go_into_a_pipe_as_they_are_and_notices_beside_it() -> None:
    with pipes(3) as (given, out, err):
        console = Console(given.reader, out.writer, err.writer)
        await console.message("te\x1bxt")
        await console.message(b"\x00\xff")
        await console.notice("Connec\x1bted\nand so on")
        assert out.get() == "te\x1bxt\n00ff\n"
        assert err.get() == "Connec\\x1bted\nand so on\n"


async def test_a_terminal_gets_a_prompt_and_each_key_is_drawn(window: Terminal) -> None:
    console = on(window)
    lines: list[str | None] = []

    async def read() -> None:
        lines.append(await console.read_line())

    with console.prompt():
        await console.refresh()
        assert await window.raw_until("> \x1b[0m") == "\r\x1b[K\x1b[2m> \x1b[0m"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            window.type("hallo")
            assert await window.raw_until("hallo") == "\r\x1b[K\x1b[2m> \x1b[0mhallo"
            window.type("\x02\x02\x02\x7fe")
            assert await window.raw_until("hello\x1b[3D")
            window.type("\r")
        assert lines == ["hello"]
        assert await window.raw_until("\x1b[2m> \x1b[0mhello\r\n\x1b[2m> \x1b[0m")


async def test_lines_pasted_together_are_lines_and_empty_ones_only_a_new_prompt(window: Terminal) -> None:
    console = on(window)
    with console.prompt():
        window.type("one\r\rtwo\r\x04")
        assert [await console.read_line() for _ in range(4)] == ["one", "", "two", None]
    assert await window.until("> two\n> ") == "> one\n> > > two\n> "


async def test_messages_and_notices_are_written_above_the_prompt(window: Terminal) -> None:
    console = on(window)
    await console.message("before")
    assert await window.raw_until("\n") == "\r\x1b[K\x1b[36m< before\x1b[0m\r\n"
    with console.prompt():
        window.type("typ")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(console.read_line)
            await window.until("> typ")
            nursery.cancel_scope.cancel()
        await console.message("te\x1bxt\n")
        await console.message(b"\x00\xff")
        await console.notice("notice", "red")
        seen = await window.raw_until("notice\x1b[0m\r\n\x1b[2m> \x1b[0mtyp")
    assert "\r\x1b[K\x1b[36m< te\\x1bxt\\n\x1b[0m\r\n\x1b[2m> \x1b[0mtyp" in seen
    assert "< (binary, 2 bytes) 00ff" in seen
    assert "\x1b[31mnotice" in seen


async def test_the_terminal_is_as_before_after_the_block_also_when_it_is_cancelled(window: Terminal) -> None:
    before = termios.tcgetattr(window.descriptor)
    console = on(window)
    with trio.move_on_after(0), console.prompt():
        local = termios.tcgetattr(window.descriptor)[LOCAL]
        assert not local & (termios.ICANON | termios.ECHO)
        assert local & termios.ISIG
        await console.read_line()
    assert termios.tcgetattr(window.descriptor) == before


async def test_keys_come_at_once_again_after_a_refresh(window: Terminal) -> None:
    console = on(window)
    before = termios.tcgetattr(window.descriptor)
    with console.prompt():
        termios.tcsetattr(window.descriptor, termios.TCSANOW, before)  # as the shell does after Ctrl-Z
        await console.refresh()
        assert not termios.tcgetattr(window.descriptor)[LOCAL] & termios.ICANON


async def test_a_long_line_stays_in_one_row_of_the_window(window: Terminal) -> None:
    fcntl.ioctl(window.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    console = on(window)
    with console.prompt():
        window.type("abcdefghijklmnopqrstuvwxyz")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(console.read_line)
            assert await window.until("z") == "> jklmnopqrstuvwxyz"
            nursery.cancel_scope.cancel()


async def test_a_window_that_is_gone_ends_the_input(window: Terminal) -> None:
    console = on(window)
    with console.prompt():
        window.hang_up()
        assert await console.read_line() is None


async def test_a_window_without_a_size_counts_as_80_columns(window: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_descriptor: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", gone)
    console = on(window)
    with console.prompt():
        await console.refresh()
        assert await window.until("> ")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_there_are_no_colours_for_who_wants_none(
    window: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    await on(window).message("text")
    assert await window.raw_until("\n") == "\r\x1b[K< text\r\n"


async def test_notices_are_coloured_where_only_standard_error_is_a_terminal(window: Terminal) -> None:
    with pipes(2) as (given, out):
        console = Console(given.reader, out.writer, window.descriptor)
        await console.message("text")
        await console.notice("Connected")
        assert out.get() == "text\n"
        assert await window.raw_until("\n") == "\x1b[32mConnected\x1b[0m\r\n"
