"""Which implementation is used: the extension in C where it was built and is wanted, else plain Python."""

from __future__ import annotations

import runpy
import sys
from types import ModuleType

import pytest

from trio_bunws import _extension

NAMES = [name for name in _extension.__all__ if name != "IMPLEMENTATION"]


def load(monkeypatch: pytest.MonkeyPatch, extension: object) -> dict[str, object]:
    """Run the module anew where the extension is this one; None: there is none."""
    monkeypatch.delenv("BUNWS_NO_EXTENSIONS", raising=False)
    monkeypatch.setitem(sys.modules, "trio_bunws._speed", extension)
    return runpy.run_path(_extension.__file__)


def made_up(*names: str) -> ModuleType:
    """Make an extension with these functions."""
    module = ModuleType("trio_bunws._speed")
    for name in names:
        setattr(module, name, print)
    return module


def test_the_extension_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch, made_up(*NAMES))
    assert (found["IMPLEMENTATION"], found["unmask"]) == ("c", print)


@pytest.mark.parametrize("extension", [None, made_up("unmask")], ids=["none", "of other sources"])
def test_python_does_it_where_the_extension_is_not_or_has_not_all(
    extension: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(monkeypatch, extension)
    assert (found["IMPLEMENTATION"], found["unmask"]) == ("python", None)


@pytest.mark.parametrize(("value", "expected"), [("1", "python"), ("", "c")])
def test_the_environment_chooses_plain_python(value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_bunws._speed", made_up(*NAMES))
    monkeypatch.setenv("BUNWS_NO_EXTENSIONS", value)
    assert runpy.run_path(_extension.__file__)["IMPLEMENTATION"] == expected
