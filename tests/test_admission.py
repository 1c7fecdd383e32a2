"""Counting connections: the limits in all and for each address, and the wait for the last one."""

from __future__ import annotations

import trio
import trio.testing

from trio_bunws._admission import Admission
from trio_bunws._options import Limits


async def test_without_limits_nobody_is_too_many() -> None:
    admission = Admission(Limits())
    for _ in range(100):
        assert not admission.is_full("192.0.2.1")
        admission.enter("192.0.2.1")
    assert admission.count == 100


async def test_max_connections_counts_all_addresses_and_none() -> None:
    admission = Admission(Limits(max_connections=2))
    admission.enter("192.0.2.1")
    assert not admission.is_full("192.0.2.2")
    admission.enter(None)
    assert admission.is_full("192.0.2.2")
    assert admission.is_full(None)
    admission.leave(None)
    assert not admission.is_full(None)


async def test_max_connections_per_ip_counts_each_address_and_what_has_none_is_free() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    for _ in range(2):
        admission.enter("192.0.2.1")
    for _ in range(10):
        admission.enter(None)
    assert admission.is_full("192.0.2.1")
    assert not admission.is_full("192.0.2.2")
    assert not admission.is_full(None)
    admission.leave("192.0.2.1")
    assert not admission.is_full("192.0.2.1")


async def test_addresses_are_forgotten_with_their_last_connection() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    for number in range(10):
        admission.enter(f"192.0.2.{number}")
        admission.enter(f"192.0.2.{number}")
        admission.leave(f"192.0.2.{number}")
        admission.leave(f"192.0.2.{number}")
    assert admission._per_address == {}


async def test_wait_empty_waits_for_the_last_one_even_if_another_came_meanwhile(nursery: trio.Nursery) -> None:
    admission = Admission(Limits())
    with trio.testing.assert_checkpoints():
        await admission.wait_empty()
    admission.enter("192.0.2.1")
    admission.enter(None)
    done = trio.Event()

    async def wait() -> None:
        await admission.wait_empty()
        done.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    admission.leave("192.0.2.1")
    await trio.testing.wait_all_tasks_blocked()
    admission.leave(None)
    admission.enter(None)
    await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()
    admission.leave(None)
    await done.wait()
