"""The servers that are compared: how each is found, its version, and how it is started; what is missing says why.

One `Peer` per row of the tables, in the order of the tables. Adding one means a small server in `peers/` (it takes
`chat CLIENTS` or `echo`, with compression also `fanout CLIENTS COMPRESSOR`, and prints its port) and an entry here;
nothing else of the benchmarks knows a peer by name, but for `BASELINE` and the few with compression in `deflate.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
BASELINE = "bun"


class MissingPeerError(Exception):
    """This peer cannot be run here; the message says why and what to install."""


@dataclass(frozen=True)
class Found:
    """A peer that can be started."""

    version: str
    command: tuple[str, ...]
    """The benchmark appends what the server is to do, for example `chat CLIENTS`."""

    options: tuple[str, ...] = ()
    """What comes after that."""

    environment: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Peer:
    name: str
    """For `--peers`."""

    title: str
    """For the tables."""

    find: Callable[[], Found]
    """The way to start it; raises `MissingPeerError`."""


def _python(script: str, distributions: tuple[str, ...], *options: str) -> Found:
    versions: list[str] = []
    for name in distributions:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            reason = f"no {name} in this Python: pip install -r benchmarks/peers/requirements.txt"
            raise MissingPeerError(reason) from None
    return Found(", ".join(versions), (sys.executable, str(PEERS / script)), options)


def bunws(script: str = "bunws_server.py") -> Found:
    """The package beside this folder, installed or not, with a server of `peers/`."""
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": path}
    check = "from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, serve"
    result = subprocess.run(
        [sys.executable, "-c", check], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise MissingPeerError(f"trio_bunws cannot be imported: {result.stderr.strip().splitlines()[-1]}")
    try:
        label = f"trio_bunws {version('trio_bunws')}"
    except PackageNotFoundError:
        label = "trio_bunws from this folder"
    return Found(f"{label}, trio {version('trio')}", (sys.executable, str(PEERS / script)), environment=environment)


def _node_modules() -> Path:
    return Path(os.environ.get("BENCH_NODE_MODULES") or PEERS / "node_modules")


def _package_version(name: str) -> str:
    try:
        text = (_node_modules() / name / "package.json").read_text("utf-8")
    except OSError:
        reason = (
            f"no {name} in {_node_modules().name}: npm install --prefix benchmarks/peers, or set BENCH_NODE_MODULES"
        )
        raise MissingPeerError(reason) from None
    return str(json.loads(text)["version"])


def _bun() -> Found:
    _package_version("bun")
    binary = str(_node_modules() / "bun" / "bin" / "bun.exe")  # so named on every system
    try:
        running = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise MissingPeerError("bun's install script has not run: npm rebuild --prefix benchmarks/peers bun") from None
    return Found(f"bun {running}", (binary, str(PEERS / "bun_server.js")))


def _ws() -> Found:
    label = f"ws {_package_version('ws')}"
    try:
        label += f", bufferutil {_package_version('bufferutil')}"
    except MissingPeerError:
        label += " without bufferutil"
    node = shutil.which("node")
    if node is None:
        raise MissingPeerError("no node on the PATH")
    running = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {"NODE_PATH": str(_node_modules())}
    return Found(f"{label}, node {running}", (node, str(PEERS / "ws_server.cjs")), environment=environment)


ALL = (
    Peer("trio_bunws", "**trio_bunws**", bunws),
    Peer("bun", "Bun", _bun),
    Peer("ws", "Node ws", _ws),
    Peer("picows", "picows (asyncio)", partial(_python, "picows_server.py", ("picows",))),
    Peer("picows-uvloop", "picows (uvloop)", partial(_python, "picows_server.py", ("picows", "uvloop"), "--uvloop")),
    Peer("aiohttp", "aiohttp (asyncio)", partial(_python, "aiohttp_server.py", ("aiohttp",))),
    Peer(
        "aiohttp-uvloop", "aiohttp (uvloop)", partial(_python, "aiohttp_server.py", ("aiohttp", "uvloop"), "--uvloop")
    ),
    Peer("websockets", "websockets (asyncio)", partial(_python, "websockets_asyncio_server.py", ("websockets",))),
    Peer(
        "websockets-uvloop",
        "websockets (uvloop)",
        partial(_python, "websockets_asyncio_server.py", ("websockets", "uvloop"), "--uvloop"),
    ),
    Peer("websockets-trio", "websockets (trio)", partial(_python, "websockets_trio_server.py", ("websockets", "trio"))),
    Peer("trio-websocket", "trio-websocket", partial(_python, "trio_websocket_server.py", ("trio-websocket", "trio"))),
)
