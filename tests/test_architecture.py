"""The shape of the code, read from its syntax trees: who may import whom, and what nobody may write.

Each rule is a function from a parsed module to complaints, and is itself tried on small bad sources at the end of
this file. A new module needs a place in `ROWS` before anything else passes.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "trio_bunws"
MAX_LINES = 400

# From the bottom up; at run time a module imports only from rows below its own.
ROWS = (
    (
        "_errors",
        "_status",
        "_statistics",
        "_headers",
        "_topics",
        "_payload",
        "_binary_type",
        "_url",
        "_file_body",
        "_speed",
    ),
    ("_close", "_options", "_request", "_response", "_log_fields", "_extension"),
    ("_handlers", "_origins", "_proxy"),
    (
        "_wire",
        "_wire.http",
        "_wire.upgrade",
        "_wire.events",
        "_wire.frames",
        "_wire.ready",
        "_wire.deflate",
        "_wire.closing",
        "_wire.compression",
        "_wire.messages",
        "_wire.codec",
        "_wire.client_request",
        "_wire.opening",
        "_wire.tunnel",
    ),
    (
        "_outbox",
        "_transport",
        "_fanout",
        "_lane",
        "_app_calls",
        "_tasks",
        "_client_events",
        "_keep_alive",
        "_broker",
        "_envelope",
        "_stopping",
        "_multicast",
        "_seldom",
        "brokers._redis_url",
        "brokers._redis_slots",
    ),
    (
        "_hub",
        "_liveness",
        "_poller",
        "_http_stream",
        "_stream_transport",
        "_admission",
        "_arrivals",
        "_census",
        "_outgoing",
        "_subscriptions",
        "brokers._in_process",
        "brokers._redis_connection",
    ),
    ("_listeners", "_connect", "_relay", "_relayed_hub", "brokers._redis_cluster", "brokers._redis_node"),
    ("_endpoint", "_engine", "_dispatch", "_reception", "brokers._redis"),
    ("_websocket", "_app_tasks", "_connection", "_client_endpoint", "_client_options", "_announcer", "brokers"),
    ("_server_connection", "_client_connection"),
    ("_server", "_client_life"),
    ("_session",),
    ("_run",),
    ("_serve", "_client"),
    ("_reconnect",),
    # The command line: what every command uses, the parts of one, the commands, and which of them is meant.
    (
        "_cli",
        "_cli.arguments",
        "_cli.terminal_text",
        "_cli.input_lines",
        "_cli.descriptors",
        "_cli.racing",
        "_cli.latencies",
        "_cli.inheritance",
        "_cli.reaping",
    ),
    (
        "_cli.client_arguments",
        "_cli.line_editor",
        "_cli.interruption",
        "_cli.application",
        "_cli.place",
        "_cli.broker_choice",
    ),
    ("_cli.console", "_cli.source_watch", "_cli.shared_port", "_cli.worker"),
    ("_cli.worker_process",),
    ("_cli.worker_slot",),
    ("_cli.supervisor",),
    ("_cli.connect_command", "_cli.serve_command", "_cli.bench_command"),
    ("_cli.command_line",),
    ("__main__",),
    ("observability._metrics", "observability._tracing"),
    ("observability",),
    ("testing._memory", "testing._raw_peer", "testing._check_broker"),
    ("testing._faults", "testing._pair"),
    ("testing",),
)
WIRE_ROW = 4
# Inside `_wire` too, a module imports only from what stands below it here.
WIRE_ROWS = (
    ("_wire.http", "_wire.events", "_wire.frames", "_wire.deflate"),
    ("_wire.compression", "_wire.closing", "_wire.ready"),
    ("_wire.upgrade", "_wire.messages", "_wire.client_request"),
    ("_wire.codec", "_wire.opening", "_wire.tunnel"),
)

PROTOCOL_LIBRARIES = {"h11", "wsproto"}
NOT_IN_WIRE = {"ssl", "socket", "time"}
FOREIGN = {"trio", *PROTOCOL_LIBRARIES}
DOCUMENTED = {"os._exit"}
"""What has an underscore and is public."""
DEADLINES = {"move_on_after", "move_on_at", "fail_after", "fail_at"}


class Module(NamedTuple):
    """One parsed file of the package; its name is relative to the package, as in `ROWS`."""

    name: str
    tree: ast.Module

    @property
    def row(self) -> int:
        return next(number for number, row in enumerate(ROWS, 1) if self.name in row)

    @property
    def is_wire(self) -> bool:
        return self.name.partition(".")[0] == "_wire"


class Import(NamedTuple):
    """One imported name, in full: ``trio_bunws._close.CloseFrame`` or ``trio``."""

    target: str
    line: int
    typing_only: bool

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]


Rule: TypeAlias = "Callable[[Module], Iterator[str]]"


@cache
def package_modules() -> tuple[Module, ...]:
    """Parse every file of the package but its top, which may import everything; of the extension in C, its stub."""
    modules: list[Module] = []
    for path in sorted(PACKAGE.rglob("*.py*")):
        if path.suffix not in {".py", ".pyi"}:
            continue
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            modules.append(Module(name, ast.parse(path.read_text("utf-8"))))
    return tuple(modules)


def imports(module: Module) -> list[Import]:
    """List every import, also those inside functions, with whether only a type checker sees it."""
    unseen = {
        id(node)
        for block in ast.walk(module.tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    # What a relative import starts from: one dot is the module's own package.
    own_package = ["trio_bunws", *module.name.split(".")[: -1 if module.name != "_wire" else None]]
    found: list[Import] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, id(node) in unseen) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = own_package[: len(own_package) + 1 - node.level] if node.level else []
            prefix = [*base, *([node.module] if node.module else [])]
            found += [Import(".".join([*prefix, alias.name]), node.lineno, id(node) in unseen) for alias in node.names]
    return found


def own_import(target: str) -> str | None:
    """Return the name in `ROWS` of an imported module of the package ("" for its top), or None for another's."""
    first, *names = target.split(".")
    if first != "trio_bunws":
        return None
    known = {name for row in ROWS for name in row}
    candidates = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((name for name in candidates if name in known), "")


def imports_only_from_rows_below(module: Module) -> Iterator[str]:
    """Rows, and inside `_wire` its own order."""
    for line, name in {(i.line, own_import(i.target)) for i in imports(module) if not i.typing_only}:
        if name == "":
            yield f"line {line} imports the top of the package, or a module without a row"
        elif name is not None:
            other = Module(name, module.tree)
            if other.row == module.row == WIRE_ROW:
                place, below = (
                    next((n for n, row in enumerate(WIRE_ROWS) if m.name in row), -1) for m in (module, other)
                )
            else:
                place, below = module.row, other.row
            if below >= place:
                yield f"line {line} imports {name}, which is not below {module.name}"


def keeps_protocols_apart_from_io(module: Module) -> Iterator[str]:
    """Only `_wire` knows h11 and wsproto; `_wire` knows no clock and no network; the lower rows know no trio."""
    for imported in imports(module):
        if imported.library in PROTOCOL_LIBRARIES and not module.is_wire:
            yield f"line {imported.line} imports {imported.library} outside of _wire"
        if imported.library in NOT_IN_WIRE and module.is_wire:
            yield f"line {imported.line} imports {imported.library} in _wire"
        if imported.library == "trio" and module.row <= WIRE_ROW and not imported.typing_only:
            yield f"line {imported.line} imports trio in row {module.row}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@cache
def own_names() -> frozenset[str]:
    """Collect every private name that the package itself makes: functions, attributes, slots, variables, modules."""
    names: set[str] = set()
    for module in package_modules():
        names.update(module.name.split("."))
        for node in ast.walk(module.tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Constant(value=str(name)):
                    names.add(name)
                case ast.Attribute(attr=name, value=ast.Name(id="self"), ctx=ast.Store()):
                    names.add(name)
    return frozenset(names)


def touches_no_private_name_of_others(module: Module) -> Iterator[str]:
    """No ``trio._x``, and no private attribute of an object that no code of ours has given it."""
    foreign = {"trio"}
    for imported in imports(module):
        if imported.library in FOREIGN:
            foreign.add(imported.target.rpartition(".")[2])
            foreign.add(imported.library)
            if any(is_private(part) for part in imported.target.split(".")):
                yield f"line {imported.line} imports {imported.target}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node) not in DOCUMENTED:
            root = node.value
            while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
                root = root.func if isinstance(root, ast.Call) else root.value
            if (isinstance(root, ast.Name) and root.id in foreign) or node.attr not in own_names():
                yield f"line {node.lineno} uses {ast.unparse(node)}"


def called_name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def shields_only_with_a_deadline(module: Module) -> Iterator[str]:
    """A shield is given where its scope is made, together with the time at which it ends."""
    bounded: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.With | ast.AsyncWith):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            if any(called_name(call) in DEADLINES for call in calls):
                bounded.update(map(id, calls))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Attribute) and target.attr == "shield" for target in targets):
                yield f"line {node.lineno} sets a shield on a scope made elsewhere"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            has_deadline = "deadline" in given or called_name(node) in DEADLINES or id(node) in bounded
            if given.get("shield", "False") != "False" and not has_deadline:
                yield f"line {node.lineno} shields without a deadline"


def opens_only_bounded_channels(module: Module) -> Iterator[str]:
    """No memory channel is of infinite size."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and "open_memory_channel" in ast.unparse(node.func):
            words = {getattr(n, "attr", getattr(n, "id", getattr(n, "value", None))) for n in ast.walk(node)}
            if "inf" in words:
                yield f"line {node.lineno} opens a channel without a bound"


RULES: tuple[Rule, ...] = (
    imports_only_from_rows_below,
    keeps_protocols_apart_from_io,
    touches_no_private_name_of_others,
    shields_only_with_a_deadline,
    opens_only_bounded_channels,
)


def test_every_module_has_one_row_and_every_row_only_modules_that_exist() -> None:
    listed = [name for row in ROWS for name in row]
    assert sorted(listed) == sorted(module.name for module in package_modules())


def test_every_module_of_wire_has_one_place_in_its_order() -> None:
    assert sorted(name for row in WIRE_ROWS for name in row) == sorted(set(ROWS[WIRE_ROW - 1]) - {"_wire"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("module", package_modules(), ids=lambda module: module.name)
def test_the_module_keeps_the_rule(module: Module, rule: Rule) -> None:
    assert list(rule(module)) == []


@pytest.mark.parametrize("name", [module.name for module in package_modules() if not (PACKAGE / module.name).is_dir()])
def test_every_module_has_a_test_file_of_its_own(name: str) -> None:
    assert (ROOT / "tests" / f"test_{name.rpartition('.')[2].strip('_')}.py").is_file()


def own_files() -> list[Path]:
    folders = ("trio_bunws", "tests", "examples", "benchmarks")
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [ROOT / "noxfile.py", *(path for path in found if "node_modules" not in path.parts)]


@pytest.mark.parametrize("path", own_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "a file begins with what lives in it, what does not, and who calls it"


@pytest.mark.parametrize("path", own_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_one_concept(path: Path) -> None:
    # A module's tests are one file, however many facts there are about it.
    if (ROOT / "tests") not in path.parents:
        assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    ("rule", "name", "source", "complaint"),
    [
        (imports_only_from_rows_below, "_close", "from ._options import Limits", "_options, which is not below _close"),
        (imports_only_from_rows_below, "_close", "from . import _hub", "_hub, which is not below _close"),
        (imports_only_from_rows_below, "_hub", "def f():\n    import trio_bunws._serve", "_serve, which is not below"),
        (imports_only_from_rows_below, "_close", "from trio_bunws import Limits", "the top of the package"),
        (imports_only_from_rows_below, "_serve", "from ._unheard_of import x", "a module without a row"),
        (imports_only_from_rows_below, "_wire.http", "from .codec import Codec", "_wire.codec, which is not below"),
        (imports_only_from_rows_below, "_wire.frames", "from .events import Ping", "_wire.events, which is not below"),
        (imports_only_from_rows_below, "_wire.codec", "from .._hub import Hub", "_hub, which is not below _wire.codec"),
        (imports_only_from_rows_below, "_wire", "from .codec import Codec", "_wire.codec, which is not below _wire"),
        (keeps_protocols_apart_from_io, "_session", "import h11", "imports h11 outside of _wire"),
        (keeps_protocols_apart_from_io, "_hub", "import wsproto.events", "imports wsproto outside of _wire"),
        (keeps_protocols_apart_from_io, "_wire.codec", "import time", "imports time in _wire"),
        (keeps_protocols_apart_from_io, "_wire.codec", "from socket import socket", "imports socket in _wire"),
        (keeps_protocols_apart_from_io, "_handlers", "from trio import lowlevel", "imports trio in row 3"),
        (touches_no_private_name_of_others, "_hub", "import trio\ntrio._core.x", "uses trio._core"),
        (touches_no_private_name_of_others, "_hub", "from trio import _core", "imports trio._core"),
        (touches_no_private_name_of_others, "_hub", "import trio._util", "imports trio._util"),
        (touches_no_private_name_of_others, "_hub", "from h11 import C\nC()._state", "uses C()._state"),
        (touches_no_private_name_of_others, "_hub", "import wsproto as w\nw.x[0]._y", "uses w.x[0]._y"),
        (touches_no_private_name_of_others, "_hub", "self.connection._unheard_of_here", "_unheard_of_here"),
        (shields_only_with_a_deadline, "_hub", "with trio.CancelScope(shield=True): pass", "without a deadline"),
        (shields_only_with_a_deadline, "_hub", "scope = CancelScope(shield=flag)", "without a deadline"),
        (shields_only_with_a_deadline, "_hub", "scope.shield = True", "made elsewhere"),
        (opens_only_bounded_channels, "_hub", "trio.open_memory_channel(math.inf)", "without a bound"),
        (opens_only_bounded_channels, "_hub", "open_memory_channel[int](inf)", "without a bound"),
        (opens_only_bounded_channels, "_hub", "trio.open_memory_channel(float('inf'))", "without a bound"),
    ],
)
def test_a_rule_complains_about_a_bad_source(rule: Rule, name: str, source: str, complaint: str) -> None:
    complaints = list(rule(Module(name, ast.parse(source))))
    assert len(complaints) == 1
    assert complaint in complaints[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("_close", "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport attrs"),
        ("_close", "if TYPE_CHECKING:\n    import trio\n    from ._hub import Hub"),
        ("_close", "if typing.TYPE_CHECKING:\n    from ._serve import serve"),
        ("_hub", "import trio\nfrom ._outbox import Outbox\nfrom ._wire.frames import text_frame"),
        ("_wire.codec", "import wsproto\nfrom .frames import unmask\nfrom .._close import CloseFrame"),
        ("_wire.upgrade", "import h11\nfrom . import http"),
        ("_hub", "with trio.CancelScope(deadline=trio.current_time() + 1, shield=True): pass"),
        ("_hub", "with trio.move_on_after(1, shield=True): pass"),
        ("_hub", "with trio.fail_after(1), trio.CancelScope(shield=True): pass"),
        ("_hub", "with trio.CancelScope(shield=False): pass"),
        ("_hub", "trio.open_memory_channel(1)"),
        ("_hub", "self._calls.x\ntrio.__version__"),
        ("_hub", "os._exit(1)"),
    ],
)
def test_the_rules_let_a_good_source_pass(name: str, source: str) -> None:
    module = Module(name, ast.parse(source))
    assert [complaint for rule in RULES for complaint in rule(module)] == []
