"""`--broker URL`: what is understood, and what a mistake is told as.

Covers `trio_bunws._cli.broker_choice` alone; no Redis is asked for anything.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from trio_bunws import brokers
from trio_bunws._cli import broker_choice
from trio_bunws._cli.arguments import Parser, UsageError
from trio_bunws._cli.broker_choice import add_broker_argument, check_broker, make_broker


@pytest.mark.parametrize(
    ("variable", "arguments", "url"),
    [
        ("redis://me:secret@there", [], "redis://me:secret@there"),
        ("redis://me:secret@there", ["--broker", "unix:///run/redis"], "unix:///run/redis"),
        ("", [], None),
        (None, [], None),
    ],
)
def test_the_environment_may_hold_the_url_and_an_argument_wins(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, arguments: list[str], url: str | None
) -> None:
    if variable is None:
        monkeypatch.delenv("TRIO_BUNWS_BROKER", raising=False)
    else:
        monkeypatch.setenv("TRIO_BUNWS_BROKER", variable)
    parser = Parser()
    add_broker_argument(parser)
    assert parser.parse_args(arguments).broker == url
    assert "secret" not in parser.format_help()


def test_without_a_url_there_is_no_broker() -> None:
    assert make_broker(None) is None


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "rediss://me:secret@redis.example/2", "unix:///run/redis"])
def test_a_redis_is_a_broker(url: str) -> None:
    assert isinstance(make_broker(url), brokers.RedisBroker)


@pytest.mark.parametrize("url", ["", "localhost:6379", "kafka://me:secret@there", "http://127.0.0.1/", "redis:/x"])
def test_what_is_unknown_is_told_with_what_is_known(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_broker(url)
    assert str(caught.value) == (
        "--broker, or TRIO_BUNWS_BROKER, expects redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH of a Redis"
    )


def test_a_url_that_is_wrong_is_told_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        make_broker("redis://me:secret@there:port/")
    assert str(caught.value).startswith("--broker: RedisBroker expects url to be redis://")
    assert "secret" not in str(caught.value)


def test_what_is_missing_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_choice, "find_spec", lambda _name: None)
    with pytest.raises(UsageError) as caught:
        check_broker("redis://me:secret@there")
    assert str(caught.value) == "--broker redis://... needs coredis: pip install 'trio-bunws[redis]'"


def test_to_check_imports_nothing() -> None:
    source = """
import sys
from trio_bunws._cli.broker_choice import check_broker
check_broker("redis://127.0.0.1")
assert "coredis" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", source], check=True)
