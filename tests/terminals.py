"""Terminals and pipes for the tests of the command line: real ones of the kernel, whose other end is the test's."""

from __future__ import annotations

import os
import pty
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Pipe", "Terminal", "pipes", "terminal"]

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A pseudo-terminal: a program has `descriptor`, and the test is the person in front of it."""

    def __init__(self, master: int, descriptor: int) -> None:
        self._master = master
        self.descriptor = descriptor
        self.seen = ""
        """All that the program has written, colours included, but for what `until` has returned."""

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    async def until(self, text: str) -> str:
        """Wait until the program has written this, without regard to colours; return all up to its end, plain."""
        with trio.fail_after(PATIENCE):
            while text not in SEQUENCE.sub("", self.seen):
                await trio.lowlevel.wait_readable(self._master)
                self.seen += os.read(self._master, 65536).decode()
        plain, self.seen = SEQUENCE.sub("", self.seen), ""
        at = plain.index(text) + len(text)
        self.seen = plain[at:]
        return plain[:at]

    async def raw_until(self, text: str) -> str:
        """Wait until the program has written exactly this; return all up to its end, with every sequence."""
        with trio.fail_after(PATIENCE):
            while text not in self.seen:
                await trio.lowlevel.wait_readable(self._master)
                self.seen += os.read(self._master, 65536).decode()
        at = self.seen.index(text) + len(text)
        before, self.seen = self.seen[:at], self.seen[at:]
        return before

    async def rest(self) -> str:
        """Return what the program has written until its end, with every sequence."""
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    await trio.lowlevel.wait_readable(self._master)
                    self.seen += os.read(self._master, 65536).decode()
            except OSError:  # as Linux tells the end of a terminal
                return self.seen

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        """Give both ends back."""
        for descriptor in (self._master, self.descriptor):
            if descriptor != -1:
                os.close(descriptor)


@contextmanager
def terminal() -> Generator[Terminal]:
    """Open a terminal for the block."""
    made = Terminal(*pty.openpty())
    try:
        yield made
    finally:
        made.close()


class Pipe:
    """A pipe, of which the test has one end and the program the other."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def put(self, data: bytes) -> None:
        """Write; it must fit."""
        os.write(self.writer, data)

    def end(self) -> None:
        """Close the writing end."""
        os.close(self.writer)
        self.writer = -1

    def leave(self) -> None:
        """Close the reading end."""
        os.close(self.reader)
        self.reader = -1

    def get(self) -> str:
        """Return what is in it now, or "" if that is nothing."""
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        """Give back what is still open."""
        for descriptor in (self.reader, self.writer):
            if descriptor != -1:
                os.close(descriptor)


@contextmanager
def pipes(number: int) -> Generator[list[Pipe]]:
    """Open so many pipes for the block."""
    made = [Pipe() for _ in range(number)]
    try:
        yield made
    finally:
        for pipe in made:
            pipe.close()
