"""What `serve module:attribute` names: the application, imported, with its `fetch`, its handler and its `error` found.

Also how it is imported again after a change: every module of its folder anew, or nothing changes. What is found is
checked here, as far as it can be without calling it; `serve_command.py` and each worker serve it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trio_bunws._cli.arguments import UsageError
from trio_bunws._handlers import WebSocketHandler

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from trio_bunws._server import Fetch, OnError

NOT_OURS: Final = frozenset({"site-packages", "dist-packages", "node_modules", "__pycache__"})
"""Folders whose files are nobody's work in progress, wherever they are."""
FORMS: Final = (
    "a WebSocketHandler, a fetch function, a pair of both, "
    "or a module or object that has fetch or websocket (or a handler)"
)


class Application(NamedTuple):
    """What is served."""

    fetch: Fetch[Any] | None
    websocket: WebSocketHandler[Any] | None
    error: OnError | None


def load(reference: str) -> Application:
    """Import `module` or `module:attribute`, and return what it serves.

    Raises:
        UsageError: if there is no such thing, or it raises when it is imported; in one line.
    """
    name, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"expected module or module:attribute, as chat:handler, not {reference!r}")
    found: object = _import(name)
    for part in attribute.split(".") if attribute else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{name} has no attribute {attribute!r}") from None
    return _application(reference, found)


def reload(reference: str, folder: Path) -> Application:
    """Import the modules below a folder anew, and return what `reference` serves now.

    Raises:
        UsageError: as `load`; then the modules are those of before.
    """
    before = {name: module for name, module in sys.modules.items() if _is_below(module, folder)}
    for name in before:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        return load(reference)
    except BaseException:
        sys.modules.update(before)
        raise


def is_of_application(path: Path, folder: Path) -> bool:
    """Tell whether a file is below a folder, and not in an environment or a hidden folder there."""
    return path.is_relative_to(folder) and not any(
        part in NOT_OURS or part.startswith(".") for part in path.relative_to(folder).parts
    )


def _is_below(module: ModuleType, folder: Path) -> bool:
    path = getattr(module, "__file__", None)
    return (
        isinstance(path, str)
        and module.__name__.partition(".")[0] not in {"trio_bunws", "__main__", "__mp_main__"}
        and is_of_application(Path(path), folder)
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        hint = f"; a module is named without .py: {name[:-3]}" if name.endswith(".py") else ""
        raise UsageError(f"cannot import {name}: {_in_one_line(exc)}{hint}") from exc


def _in_one_line(exc: BaseException) -> str:
    """Say where in the application it was raised, and what."""
    what = " ".join(f"{type(exc).__name__}: {exc}".split())
    if isinstance(exc, SyntaxError):  # it tells its place itself
        return what
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    return f"{own[-1].filename}, line {own[-1].lineno}: {what}" if own else what


def _application(reference: str, found: object) -> Application:
    match found:
        case WebSocketHandler():
            return Application(None, found, None)
        case (fetch, websocket):
            return _checked(reference, fetch, websocket, None)
        case _ if hasattr(found, "fetch") or _handler_in(found) is not None:
            return _checked(reference, getattr(found, "fetch", None), _handler_in(found), getattr(found, "error", None))
        case _ if callable(found) and not isinstance(found, type):
            return _checked(reference, found, None, None)
        case _:
            raise UsageError(f"{reference} is {type(found).__name__}; expected {FORMS}")


def _handler_in(found: object) -> object:
    """Return what `found` calls `websocket`, as `serve` does; else its `handler`, unless that is something else."""
    websocket, handler = getattr(found, "websocket", None), getattr(found, "handler", None)
    return handler if websocket is None and isinstance(handler, WebSocketHandler) else websocket


def _checked(reference: str, fetch: Any, websocket: Any, error: Any) -> Application:  # noqa: ANN401 - what was found
    application = Application(fetch, websocket, error)
    if fetch is not None and not callable(fetch):
        raise UsageError(f"{reference}: fetch is no function, but {type(fetch).__name__}")
    if websocket is not None and not isinstance(websocket, WebSocketHandler):
        raise UsageError(f"{reference}: websocket is no WebSocketHandler, but {type(websocket).__name__}")
    if error is not None and not callable(error):
        raise UsageError(f"{reference}: error is no function, but {type(error).__name__}")
    if fetch is None and websocket is None:
        raise UsageError(f"{reference} has neither fetch nor websocket")
    _check_call(reference, "fetch", fetch, "request", "server")
    _check_call(reference, "error", error, "exc")
    return application


def _check_call(reference: str, name: str, function: Callable[..., object] | None, *arguments: str) -> None:
    """Complain of a function that cannot take the arguments that it is called with."""
    if function is None:
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of those in C tell nothing
        return
    try:
        signature.bind(*arguments)
    except TypeError as exc:
        called = f"{name}({', '.join(arguments)})"
        own = f"{getattr(function, '__name__', type(function).__name__)}{signature}"
        raise UsageError(f"{reference}: it is called as {called}, which {own} does not allow: {exc}") from None
