"""Where `serve` is to listen: what its arguments mean, and which do not go together.

Covers `trio_bunws._cli.place` alone.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from trio_bunws import WebSocket, WebSocketHandler, open_server
from trio_bunws._cli.arguments import Parser, UsageError
from trio_bunws._cli.place import add_place_arguments, place_of

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def arguments(*given: str) -> argparse.Namespace:
    parser = Parser()
    add_place_arguments(parser)
    return parser.parse_args(given)


def test_where_it_listens_is_what_serve_says_unless_told() -> None:
    assert place_of(arguments()) == {"tls": None}
    assert place_of(arguments("--host", "::1", "-p", "0")) == {"tls": None, "hostname": "::1", "port": 0}
    assert place_of(arguments("--unix", "socket")) == {"tls": None, "unix": "socket"}


async def test_tls_is_spoken_with_the_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    place = place_of(arguments("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")))
    assert place["tls"] is not None
    async with open_server(None, WebSocketHandler(), port=0, tls=place["tls"]) as server:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with WebSocket(f"wss://127.0.0.1:{server.port}/", tls=context) as ws:
            assert ws.send("x") == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "/nothing"], "cannot use /nothing: No such file or directory"),
        (["--tls-cert", __file__], f"cannot use {__file__}: "),
        (["--tls-cert", "/nothing", "--tls-key", "/no"], "cannot use /nothing and /no: "),
        (["--unix", "x", "--port", "1"], "--unix is instead of --host and --port"),
        (["--unix", "x", "--host", "::"], "--unix is instead of --host and --port"),
        (["--unix", ""], "--unix expects a path"),
    ],
)
def test_arguments_that_do_not_work_are_told_in_one_line(given: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        place_of(arguments(*given))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
