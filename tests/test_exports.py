"""What an application can import: exactly what the API promises, under the package's own name, and documented.

Covers the top of the package, `trio_bunws`; what the names do is tested where they are written.
"""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import trio_bunws

# The API so far; a name is added here in the change that makes it importable.
PROMISED = {
    "BrokerError",
    "BunwsError",
    "CloseInfo",
    "Compressor",
    "ConnectionClosed",
    "HandshakeError",
    "Headers",
    "Limits",
    "LocalProtocolError",
    "MessageBackpressured",
    "MessageDropped",
    "MessageSent",
    "Origins",
    "PerMessageDeflate",
    "Proxy",
    "ReadyState",
    "RemoteProtocolError",
    "Request",
    "Response",
    "SendStatus",
    "Server",
    "ServerWebSocket",
    "SocketAddress",
    "WebSocket",
    "WebSocketHandler",
    "open_server",
    "reconnecting",
    "serve",
}
# Classes that no application makes: the API hands out their instances, and annotations need their names.
HANDED_OUT = {
    "CloseEvent",
    "CloseFrame",
    "ErrorEvent",
    "MessageEvent",
    "MultiDict",
    "OpenEvent",
    "ServerStatistics",
    "SocketStatistics",
    "WebSocketOptions",
}
PUBLIC_SUBMODULES = {"brokers", "observability", "testing"}
ALIASES = {"Compressor", "SendStatus"}
OBJECTS = sorted((PROMISED | HANDED_OUT) - ALIASES)


def public_members(cls: type) -> dict[str, object]:
    """List what a class itself defines for applications, without what it inherits."""
    return {name: member for name, member in vars(cls).items() if not name.startswith("_")}


@cache
def documented_attributes() -> set[str]:
    """List every ``Class.attribute`` of the package whose annotation is followed by a docstring."""
    found: set[str] = set()
    for path in Path(trio_bunws.__file__).parent.rglob("*.py"):
        classes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ClassDef)]
        for cls in classes:
            for statement, after in zip(cls.body, cls.body[1:], strict=False):
                match statement, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str())):
                        found.add(f"{cls.name}.{name}")
    return found


def test_the_public_names_are_exactly_those_promised() -> None:
    names = {name for name in vars(trio_bunws) if not name.startswith("_")}
    assert names - PUBLIC_SUBMODULES == PROMISED | HANDED_OUT


def test_a_star_import_gives_the_same_names() -> None:
    namespace: dict[str, object] = {}
    exec("from trio_bunws import *", namespace)
    assert namespace.keys() - {"__builtins__"} - PUBLIC_SUBMODULES == PROMISED | HANDED_OUT


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_object_lives_in_the_package_by_name(name: str) -> None:
    thing = getattr(trio_bunws, name)
    assert thing.__module__ == "trio_bunws"
    assert pickle.loads(pickle.dumps(thing)) is thing


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_object_and_its_members_are_documented(name: str) -> None:
    thing = getattr(trio_bunws, name)
    assert inspect.getdoc(thing)
    members = public_members(thing) if isinstance(thing, type) else {}
    functions = [n for n, m in members.items() if callable(m) or isinstance(m, property | classmethod | staticmethod)]
    assert [n for n in functions if not inspect.getdoc(getattr(thing, n))] == []


@pytest.mark.parametrize("name", OBJECTS)
def test_every_attribute_of_a_public_class_is_documented(name: str) -> None:
    fields = getattr(getattr(trio_bunws, name), "__attrs_attrs__", ())
    promised = {f"{name}.{field.name}" for field in fields if not field.name.startswith("_")}
    assert promised - documented_attributes() == set()


def test_the_version_is_three_numbers() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", trio_bunws.__version__)


def test_importing_the_package_imports_no_extras() -> None:
    script = "import sys, trio_bunws; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "trio_bunws" in loaded
    extras = {
        "trio_bunws.testing",
        "trio_bunws.brokers",
        "trio_bunws.observability",
        "trio.testing",
        "pytest",
        "asyncio",
        "typing_extensions",
        "prometheus_client",
        "opentelemetry",
    }
    assert loaded & extras == set()
