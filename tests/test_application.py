"""What `module:attribute` means, what is said when it means nothing, and importing it again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from trio_bunws import WebSocketHandler
from trio_bunws._cli.application import is_of_application, load, reload
from trio_bunws._cli.arguments import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
from functools import partial
from trio_bunws import Response, WebSocketHandler

def fetch(request, server):
    return Response("hello")

def error(exc):
    return Response("oh", status=500)

websocket = WebSocketHandler()
pair = (fetch, websocket)

class namespace:
    websocket = websocket

class Usual:
    fetch = fetch
    handler = websocket

class Handler:
    handler = websocket

class InC:
    fetch = max

class Partial:
    fetch = partial(lambda rooms, request, server: None, ())

class Deaf:
    fetch = fetch
    error = lambda: None

def main(arguments: list[str]) -> int:
    return 0

class Both:
    websocket = websocket
    handler = WebSocketHandler(max_inbox=1)

class Other:
    fetch = fetch
    handler = "of something else"

class Parts:
    fetch = 7
    inner = websocket

class Wrong:
    websocket = fetch

class Unhandled:
    fetch = fetch
    error = 7

class Nothing:
    fetch = None

number = 7
parts = Parts()
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "served.py").write_text(SOURCE)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(reference: str) -> list[str]:
    """Return which of fetch, websocket and error are served."""
    return [name for name, part in load(reference)._asdict().items() if part is not None]


@pytest.mark.parametrize(
    ("reference", "served"),
    [
        ("served", ["fetch", "websocket", "error"]),
        ("served:websocket", ["websocket"]),
        ("served:fetch", ["fetch"]),
        ("served:pair", ["fetch", "websocket"]),
        ("served:namespace", ["websocket"]),
        ("served:parts.inner", ["websocket"]),
        ("served:Usual", ["fetch", "websocket"]),
        ("served:Handler", ["websocket"]),
        ("served:Other", ["fetch"]),
        ("served:InC", ["fetch"]),
        ("served:Partial", ["fetch"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_reference_names_what_is_served(reference: str, served: list[str]) -> None:
    assert names(reference) == served


@pytest.mark.usefixtures("folder")
def test_of_two_handlers_the_one_named_as_serve_names_it_is_served() -> None:
    assert load("served:Both").websocket is load("served:websocket").websocket


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "expected module or module:attribute, as chat:handler, not ''"),
        (":x", "expected module or module:attribute"),
        ("served.py/x", "expected module or module:attribute"),
        ("nowhere_to_be_found", "cannot import nowhere_to_be_found: ModuleNotFoundError: No module named"),
        ("served.sub", "cannot import served.sub: ModuleNotFoundError"),
        (
            "served.py",
            (
                "cannot import served.py: ModuleNotFoundError: No module named 'served.py'; "
                "'served' is not a package; a module is named without .py: served"
            ),
        ),
        ("served:nothing", "served has no attribute 'nothing'"),
        ("served:parts.nothing", "served has no attribute 'parts.nothing'"),
        ("served:number", "served:number is int; expected a WebSocketHandler, a fetch function"),
        ("served:Response", "served:Response is type; expected"),
        ("served:parts", "served:parts: fetch is no function, but int"),
        ("served:Wrong", "served:Wrong: websocket is no WebSocketHandler, but function"),
        ("served:Unhandled", "served:Unhandled: error is no function, but int"),
        (
            "served:main",
            (
                "served:main: it is called as fetch(request, server), which main(arguments: list[str]) -> int "
                "does not allow: too many positional arguments"
            ),
        ),
        ("served:Deaf", "served:Deaf: it is called as error(exc), which <lambda>() does not allow: too many"),
        ("served:Nothing", "served:Nothing has neither fetch nor websocket"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_served_is_told_in_one_line(reference: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(reference)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\nraise ValueError('several\\nlines')", "broken.py, line 2: ValueError: several lines"),
        ("import sys\nsys.exit('no')", "broken.py, line 2: SystemExit: no"),
        ("def (", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("import nowhere_to_be_found", "broken.py, line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_module_that_raises_is_told_with_its_place(folder: Path, source: str, words: str) -> None:
    (folder / "broken.py").write_text(source)
    with pytest.raises(UsageError, match=r"^cannot import broken: ") as caught:
        load("broken")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def application(folder: Path, number: int) -> None:
    (folder / "part.py").write_text(f"from trio_bunws import WebSocketHandler\nnumber = {number}\n")
    (folder / "whole.py").write_text("import part\nhandler = part.WebSocketHandler(max_inbox=part.number)\n")


def inbox(handler: WebSocketHandler[object] | None) -> int:
    assert handler is not None
    return handler.max_inbox


def test_importing_again_imports_all_of_the_folder(folder: Path) -> None:
    application(folder, 1)
    assert inbox(load("whole:handler").websocket) == 1
    application(folder, 2)
    assert inbox(load("whole:handler").websocket) == 1
    assert inbox(reload("whole:handler", folder).websocket) == 2
    assert isinstance(reload("whole:handler", folder).websocket, WebSocketHandler)  # the package's class is the same


def test_what_cannot_be_imported_again_stays_as_it_was(folder: Path) -> None:
    application(folder, 1)
    load("whole:handler")
    before = {name: sys.modules[name] for name in ("whole", "part")}
    (folder / "whole.py").write_text("import part\nraise ValueError")
    with pytest.raises(UsageError):
        reload("whole:handler", folder)
    assert {name: sys.modules[name] for name in ("whole", "part")} == before


def test_an_environment_in_the_folder_is_not_the_applications(tmp_path: Path) -> None:
    ours = [tmp_path / "chat.py", tmp_path / "rooms" / "lobby.py"]
    theirs = [
        tmp_path / ".venv" / "x.py",
        tmp_path / "env" / "lib" / "site-packages" / "x.py",
        tmp_path.parent / "x.py",
    ]
    assert [is_of_application(path, tmp_path) for path in (*ours, *theirs)] == [True] * 2 + [False] * 3
