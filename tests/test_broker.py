"""Facts about `_broker.py`, and what `trio_bunws.brokers` shows of it: what a broker of one's own has to bring."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

import trio_bunws.brokers
from trio_bunws.brokers import Batch, Broker, BrokerLink

if TYPE_CHECKING:
    from collections.abc import Sequence


class Silent(Broker):
    """Brings what has to be brought, and nothing more."""

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...

    async def publish(self, batches: Sequence[Batch]) -> None: ...

    async def subscribe(self, channels: Sequence[str]) -> None: ...

    async def unsubscribe(self, channels: Sequence[str]) -> None: ...


@pytest.mark.parametrize("method", ["run", "publish", "subscribe", "unsubscribe"])
def test_a_broker_without_one_of_its_methods_cannot_be_made(method: str) -> None:
    incomplete = type("Incomplete", (Silent,), {method: getattr(Broker, method)})
    with pytest.raises(TypeError, match=method):
        incomplete()


async def test_a_broker_need_not_know_how_many_receivers_there_are() -> None:
    with trio.testing.assert_checkpoints():
        assert await Silent().receivers("a") is None


def test_the_bounds_are_those_of_the_documentation_unless_a_broker_has_others() -> None:
    assert (Silent.max_queue_size, Silent.max_message_size) == (8 * 1024 * 1024, 16 * 1024 * 1024)


def test_every_public_name_says_that_it_is_of_this_module() -> None:
    public = {name: item for name, item in vars(trio_bunws.brokers).items() if isinstance(item, type)}
    assert {name: item.__module__ for name, item in public.items()} == dict.fromkeys(public, "trio_bunws.brokers")
    assert {"Batch", "Broker", "BrokerLink", "BrokerStatistics", "InProcessBroker"} <= public.keys()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'trio_bunws.brokers' has no attribute 'RabbitBroker'"):
        trio_bunws.brokers.RabbitBroker  # noqa: B018  # what is tested


@pytest.mark.parametrize("module", ["trio_bunws", "trio_bunws.brokers", "trio_bunws.testing", "trio_bunws.__main__"])
def test_nothing_but_the_redis_broker_imports_coredis(module: str) -> None:
    code = f"import sys, {module}; sys.exit('coredis' in sys.modules or 'anyio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_redis_broker_is_of_this_module_too() -> None:
    assert trio_bunws.brokers.RedisBroker.__module__ == "trio_bunws.brokers"


def test_the_redis_broker_is_among_the_names_that_are_listed() -> None:
    assert "RedisBroker" in dir(trio_bunws.brokers)


@pytest.mark.parametrize(
    ("missing", "error", "said"),
    [
        ("coredis", ImportError, "RedisBroker needs coredis: pip install 'trio-bunws\\[redis\\]'"),
        ("trio_bunws.brokers._redis", ModuleNotFoundError, "import of trio_bunws.brokers._redis halted"),
    ],
)
def test_what_is_missing_is_told(
    missing: str, error: type[ImportError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("trio_bunws.brokers._redis", "coredis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(error, match=said) as caught:
        trio_bunws.brokers.RedisBroker  # noqa: B018  # what is tested
    assert caught.type is error


def test_another_module_that_is_missing_is_told_as_it_is() -> None:
    code = "import sys; sys.modules['bisect'] = None; from trio_bunws.brokers import RedisBroker"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "coredis:" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("ModuleNotFoundError: import of bisect halted")


def test_without_the_extra_the_redis_broker_says_what_to_install() -> None:
    code = "import sys; sys.modules['coredis'] = None; from trio_bunws.brokers import RedisBroker"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == ("ImportError: RedisBroker needs coredis: pip install 'trio-bunws[redis]'")
