"""The reference's part of Sphinx: docstrings with single backticks, sources behind a package's top, nothing left out.

Public classes say that they live in `trio_bunws`, while their sources are in private modules; a name in single
backticks is a link where it is public, and plain code elsewhere; and a public name that is on no page is a warning.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

logger = logging.getLogger(__name__)
PACKAGES: Final = ("trio_bunws", "trio_bunws.testing", "trio_bunws.brokers", "trio_bunws.observability")
"""Where public names are; one that does not exist has none."""
CODE: Final = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")
"""A docstring's `code`, which Sphinx would take for something else; not ``this``, and not :role:`this`."""
ALIAS: Final = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
ALL_DEFAULTS: Final = re.compile(r"(?<== )Limits\([^()]+\)")
UNNAMED: Final = re.compile(r"<[\w.]+ object>")
STYLE: Final = Config(napoleon_google_docstring=True)
REFERENCE: Final = Path(__file__).parents[1] / "reference"
EXPLAINED: Final = frozenset(re.findall(r"`(\w+)[`\[]", (REFERENCE / "index.md").read_text("utf-8")))
"""Names in signatures that are not public; the reference's first page says what each one stands for."""


def exports(package: str) -> dict[str, object]:
    """Return what a package exports, by name."""
    if importlib.util.find_spec(package) is None:
        return {}
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {name: thing for name, thing in found.items() if not isinstance(thing, ModuleType)}


def members(thing: object) -> list[str]:
    """Return the public members that a class of ours adds to what Python gives it."""
    if not isinstance(thing, type):
        return []
    return [
        name
        for base in thing.__mro__
        if base.__module__.startswith("trio_bunws")
        for name, value in vars(base).items()
        if not name.startswith("_") and (isinstance(value, FunctionType | property | classmethod | staticmethod))
    ] + [field.name for field in getattr(thing, "__attrs_attrs__", ()) if not field.name.startswith("_")]


NAMES: Final = {f"{package}.{name}": thing for package in PACKAGES for name, thing in exports(package).items()}
MEMBERS: Final = {f"{name}.{member}" for name, thing in NAMES.items() for member in members(thing)}


def read_private_sources() -> None:
    """Have autodoc find, at a package's top, the comments and the order of what its private modules define."""
    root = Path(str(importlib.import_module(PACKAGES[0]).__file__)).parent
    source = "\n".join(path.read_text("utf-8") for path in sorted(root.rglob("*.py")))
    for package in filter(exports, PACKAGES):
        top = Path(str(importlib.import_module(package).__file__))
        analyzer = ModuleAnalyzer.for_string(source, package, top)
        analyzer.analyze()
        for thing in exports(package).values():
            for base in getattr(thing, "__mro__", ()):  # what a class inherits from a private one has its place, too
                for member in vars(base):
                    place = analyzer.tagorder.get(f"{base.__name__}.{member}")
                    if place is not None:
                        analyzer.tagorder.setdefault(f"{thing.__name__}.{member}", place)
        ModuleAnalyzer.cache["module", package] = analyzer


def link(text: str, owner: str) -> str:
    """Return a docstring's code as a link, if it is a public name as seen from ``owner``, or as plain code."""
    if text == "BEHAVIOUR.md":
        return ":doc:`/behaviour`"
    name = text.removesuffix("()")
    package = next((p for p in reversed(PACKAGES) if owner.startswith(f"{p}.")), PACKAGES[0])
    above = owner
    while above:
        target = f"{above}.{name}"
        if target in MEMBERS and target != owner:
            return f":py:obj:`{text} <{target}>`"
        above = above.rpartition(".")[0]
    for start in (package, *PACKAGES):
        target = f"{start}.{name}"
        if target != owner and (target in NAMES or target in MEMBERS):
            return f":py:obj:`{text} <{target}>`"
    return f"``{text}``"


def write_out(_app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn a docstring as we write them into what Sphinx reads; it calls this for each one."""
    lines[:] = [CODE.sub(lambda found: link(found[1], name), line) for line in lines]
    # Not the whole of napoleon: in an attribute's docstring it takes the words before a colon for a type.
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, STYLE, what=what, name=name, obj=obj, options=options).lines()


def shorten(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show a default or an alias as a caller would write it, where Python's own way says too much or nothing."""
    if signature is None:
        return None, returned
    signature = ALIAS.sub(r"\1", signature)
    return ALL_DEFAULTS.sub("Limits()", UNNAMED.sub("...", signature)), returned


def know_types(_app: Sphinx, _env: BuildEnvironment, node: Any, content: Any) -> Any:  # noqa: ANN401 - docutils is untyped
    """Let the names of types in signatures that no page defines stand as text."""
    return content if node.get("reftarget", "").rpartition(".")[2] in EXPLAINED else None


def look_for_all(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name that is on no page."""
    there = env.domains["py"].objects  # type: ignore[attr-defined]  # of the Python domain
    for name in sorted(NAMES.keys() | MEMBERS):
        if name not in there:
            logger.warning("%s is public and on no page of the reference", name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all that to a build; Sphinx calls this."""
    read_private_sources()
    app.connect("autodoc-process-docstring", write_out)
    app.connect("autodoc-process-signature", shorten)
    app.connect("missing-reference", know_types)
    app.connect("env-check-consistency", look_for_all)
    return {"parallel_read_safe": True}
