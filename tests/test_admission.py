"""Counting connections: the limits in all and for each network, what the log is told, and the wait for the last one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_bunws import SocketAddress
from trio_bunws._admission import Admission, network_of
from trio_bunws._options import Limits
from trio_bunws._seldom import LOG_PAUSE


def ipv4(host: int) -> SocketAddress:
    return SocketAddress(f"192.0.2.{host}", "IPv4", 50000 + host)


def ipv6(address: str) -> SocketAddress:
    return SocketAddress(address, "IPv6", 50000)


async def test_without_limits_nobody_is_too_many() -> None:
    admission = Admission(Limits())
    assert all(admission.admit(ipv4(1)) for _ in range(100))
    assert admission.count == 100


async def test_max_connections_counts_all_addresses_and_none() -> None:
    admission = Admission(Limits(max_connections=2))
    assert admission.admit(ipv4(1))
    assert admission.admit(None)
    assert not admission.admit(ipv4(2))
    assert not admission.admit(None)
    assert admission.count == 2
    admission.leave(None)
    assert admission.admit(None)


async def test_max_connections_per_ip_counts_each_address_and_what_has_none_is_free() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    assert [admission.admit(ipv4(1)) for _ in range(3)] == [True, True, False]
    assert all(admission.admit(None) for _ in range(10))
    assert admission.admit(ipv4(2))
    admission.leave(ipv4(1))
    admission.leave(None)
    assert [admission.admit(ipv4(1)) for _ in range(2)] == [True, False]


async def test_max_connections_per_ip_counts_an_ipv6_network_as_one() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    attacker = [ipv6(f"2001:db8:0:1::{host:x}") for host in range(1, 5)]
    assert [admission.admit(remote) for remote in attacker] == [True, True, False, False]
    assert admission.admit(ipv6("2001:db8:0:2::1"))
    admission.leave(attacker[0])
    assert admission.admit(attacker[3])


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1%eth0"),
        ("::ffff:192.0.2.1", "::ffff:c000:201", "::ffff:192.0.2.2"),
    ],
)
def test_a_network_is_64_bits_of_an_ipv6_address_or_the_ipv4_address_inside_it(
    address: str, same: str, other: str
) -> None:
    assert network_of(ipv6(address)) == network_of(ipv6(same)) != network_of(ipv6(other))


def test_an_ipv4_address_written_as_ipv6_is_the_same_one() -> None:
    assert network_of(ipv6("::ffff:192.0.2.1")) == network_of(ipv4(1)) == "192.0.2.1"


async def test_networks_are_forgotten_with_their_last_connection() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    for host in range(10):
        for _ in range(2):
            assert admission.admit(ipv4(host))
        for _ in range(2):
            admission.leave(ipv4(host))
    assert admission._per_network == {}


async def test_a_refusal_names_the_peer_and_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    for limits in (Limits(max_connections=1), Limits(max_connections_per_ip=1)):
        admission = Admission(limits)
        assert [admission.admit(ipv4(1)) for _ in range(2)] == [True, False]
    assert caplog.messages == [
        f"192.0.2.1:50001: refused, there are too many connections ({limit})"
        for limit in ("max_connections", "max_connections_per_ip")
    ]
    assert vars(caplog.records[0])["peer"] == "192.0.2.1:50001"


async def test_a_flood_of_refusals_is_one_line_now_and_a_count_with_the_next_one_later(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    admission = Admission(Limits(max_connections=1))
    admission.admit(None)
    for _ in range(1000):
        admission.admit(ipv4(1))
    autojump_clock.jump(LOG_PAUSE - 1)
    admission.admit(ipv4(2))
    assert len(caplog.messages) == 1
    autojump_clock.jump(1)
    admission.admit(ipv4(3))
    autojump_clock.jump(LOG_PAUSE)
    admission.admit(ipv4(4))
    words = "refused, there are too many connections (max_connections)"
    assert caplog.messages == [
        f"192.0.2.1:50001: {words}",
        f"192.0.2.3:50003: {words}; 1000 more since the last such line",
        f"192.0.2.4:50004: {words}",
    ]


async def test_wait_empty_waits_for_the_last_one_even_if_another_came_meanwhile(nursery: trio.Nursery) -> None:
    admission = Admission(Limits())
    with trio.testing.assert_checkpoints():
        await admission.wait_empty()
    admission.admit(ipv4(1))
    admission.admit(None)
    done = trio.Event()

    async def wait() -> None:
        await admission.wait_empty()
        done.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    admission.leave(ipv4(1))
    await trio.testing.wait_all_tasks_blocked()
    admission.leave(None)
    admission.admit(None)
    await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()
    admission.leave(None)
    await done.wait()
