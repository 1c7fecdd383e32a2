"""Reading and writing descriptors of every kind without holding up the loop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from terminals import pipes, terminal

from trio_bunws._cli.descriptors import read_some, write_all

if TYPE_CHECKING:
    from pathlib import Path


async def test_reading_waits_for_a_pipe_and_ends_with_it() -> None:
    with pipes(1) as (pipe,):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            pipe.put(b"some")
            assert await read_some(pipe.reader) == b"some"
            with trio.move_on_after(0) as scope:
                await read_some(pipe.reader)
            assert scope.cancelled_caught
            pipe.end()
            assert await read_some(pipe.reader) == b""


async def test_a_file_is_read_and_written_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    await write_all(descriptor, "text ö \ud800\n" * 1000)
    os.lseek(descriptor, 0, os.SEEK_SET)
    assert (await read_some(descriptor)).decode() == "text ö \\ud800\n" * 1000
    assert await read_some(descriptor) == b""
    os.close(descriptor)


async def test_what_is_not_open_has_ended() -> None:
    with pipes(1) as (pipe,):
        closed = os.dup(pipe.reader)
        os.close(closed)
        assert await read_some(closed) == b""


async def test_a_terminal_whose_window_was_closed_has_ended() -> None:
    with terminal() as window:
        window.hang_up()
        assert await read_some(window.descriptor) == b""


async def test_writing_waits_for_a_slow_reader_and_others_go_on() -> None:
    text = "x" * 1_000_000
    with pipes(1) as (pipe,):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_all, pipe.writer, text)
            got = b""
            while len(got) < len(text):
                got += await read_some(pipe.reader)
        assert got == text.encode()


async def test_a_pipe_that_others_made_non_blocking_is_only_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    refusals = [True, True]

    def write_after_others(descriptor: int, data: bytes) -> int:
        if refusals and refusals.pop():
            raise BlockingIOError
        return write(descriptor, data)

    with pipes(1) as (pipe,):
        monkeypatch.setattr(os, "write", write_after_others)
        await write_all(pipe.writer, "text")
        assert pipe.get() == "text"


async def test_a_reader_that_has_gone_is_an_error() -> None:
    with pipes(1) as (pipe,):
        pipe.leave()
        with pytest.raises(BrokenPipeError):
            await write_all(pipe.writer, "text")
