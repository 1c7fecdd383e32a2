"""Orphans that end are waited for, and nobody else's children.

Covers `trio_bunws._cli.reaping` alone, with children of the test that it does not wait for itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from patience import PATIENCE

from trio_bunws._cli import reaping
from trio_bunws._cli.reaping import ended_child, is_first, reap_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator


class AllBut:
    """The children of this process, of which only these are orphans."""

    def __init__(self) -> None:
        self.orphans: list[int] = []

    def __contains__(self, pid: object) -> bool:
        return pid not in self.orphans


class Child:
    """A process that ends at once, some time after it has begun."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        os.set_inheritable(self._writer, False)
        actions = [(os.POSIX_SPAWN_DUP2, reader, 0)]
        self.pid = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=actions)
        os.close(reader)

    def end(self) -> None:
        os.close(self._writer)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reaping, "SETTLE", 0.0)
    assert ended_child() is None  # else somebody else's would be in the way
    yield
    assert ended_child() is None


async def test_an_orphan_is_waited_for_and_a_child_of_ours_is_not(nursery: trio.Nursery) -> None:
    others = AllBut()
    nursery.start_soon(reap_orphans, lambda: others)
    orphan, child = Child(), Child()
    others.orphans.append(orphan.pid)
    await trio.testing.wait_all_tasks_blocked()
    orphan.end()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                os.kill(orphan.pid, 0)
            except ProcessLookupError:
                break
            await trio.testing.wait_all_tasks_blocked()
    child.end()
    with trio.fail_after(PATIENCE):
        while ended_child() != child.pid:
            await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert os.waitpid(child.pid, 0) == (child.pid, 0)  # noqa: ASYNC222 - it has ended


def test_who_has_no_children_has_none_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def waitid(*_: int) -> None:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitid", waitid)
    assert ended_child() is None


def test_the_first_process_is_number_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_first()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert is_first()
