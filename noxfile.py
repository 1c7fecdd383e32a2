"""Every check and every way to run the project: plain `nox` is what CI runs.

Each session makes an environment of its own and installs all that it needs, so a machine needs Python and nox.
Where Node, npm or a browser is missing, the tests that need it are skipped with a reason, but with CI set that is a
failure (tests/conftest.py).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "tests", "compliance", "docs", "build"]
nox.options.error_on_external_run = True
nox.options.error_on_missing_interpreters = False  # also in CI: the summary names those that are absent
# Tests start hundreds of Python processes, each of which would compile the package: it is run from where it stands.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OTHER_PYTHONS = [version for version in PYTHONS if version != f"{sys.version_info.major}.{sys.version_info.minor}"]
SMOKE_TEST = """\
import importlib.metadata, pathlib, sys, trio, trio_bunws
(implementation,) = sys.argv[1:]
assert trio_bunws.__version__ == importlib.metadata.version("trio-bunws")
assert pathlib.Path(trio_bunws.__file__).is_relative_to(sys.prefix), trio_bunws.__file__
assert pathlib.Path(trio_bunws.__file__).with_name("py.typed").is_file()

async def main():
    async with trio_bunws.open_server(lambda request, server: trio_bunws.Response("It works."), port=0) as server:
        assert server.statistics().masking == implementation, server.statistics()
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b"".join([part async for part in stream])
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"It works."), answer

trio.run(main)
print("trio_bunws", trio_bunws.__version__, "works in", implementation)
"""


def groups(*names: str) -> tuple[str, ...]:
    """Return the requirements of these dependency groups of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, *names)


def npm_install(session: nox.Session, folder: str) -> None:
    """Install the packages of ``folder``/package.json beside it, if npm is here."""
    if shutil.which("npm") is not None:
        session.run_install(
            *("npm", "install", "--prefix", folder, "--no-package-lock", "--no-audit", "--no-fund"),
            external=True,
        )
    elif os.environ.get("CI"):
        session.error("npm is missing, and in CI every test runs")
    else:
        session.warn(f"npm is missing: what needs the packages of {folder} will be left out")


def on_all_cores(arguments: list[str]) -> list[str]:
    """Return what makes pytest use all cores, unless its arguments say how many, or name files."""
    of_few = any(argument.startswith(("-n", "--numprocesses", "tests/")) for argument in arguments)
    # One more than there are cores, because tests of processes and browsers often wait.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(8, cores + 1)
    # A process that has nothing left to do takes tests over from another: some take a thousand times what most do.
    return [] if of_few else [f"--numprocesses={processes}", "--dist=worksteal"]


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test on all cores and demand full branch coverage.

    Arguments go to pytest, and then coverage is only shown; if they name files, these are run in one process.
    """
    session.install("-e.", *groups("test"))
    npm_install(session, "tests/interop")
    measured = ["--cov=trio_bunws", "--cov-report=term-missing:skip-covered"]
    shown = ["--cov-fail-under=0"] if session.posargs else []
    session.run("pytest", *measured, *shown, *on_all_cores(session.posargs), *session.posargs)


@nox.session
def compliance(session: nox.Session) -> None:
    """Run Autobahn's suite against our server and client, if it is here; arguments name runs of tests/compliance/."""
    suite = autobahn(session)
    session.install("-e.")
    output = Path(session.create_tmp()).resolve()
    session.run(
        *("python", "tests/compliance/run.py", str(suite), str(output), *session.posargs),
        env={"WSTEST_VENV": str(Path(session.cache_dir).resolve() / "autobahn")},  # the suite's scripts install it
    )


def autobahn(session: nox.Session) -> Path:
    """Return the folder of the scripts that run Autobahn's suite, or skip the session."""
    given = os.environ.get("AUTOBAHN")
    suite = Path(given) if given else Path(__file__).resolve().parent.parent / "shared" / "autobahn"
    if not (suite / "run_server_cases.sh").is_file():
        if given:
            session.error(f"AUTOBAHN={given} is not the folder of the suite's run_server_cases.sh")
        # Also in CI: the scripts are in no package that a new machine could install.
        session.warn("Nothing is known now of how this server does in Autobahn's WebSocket test suite!")
        session.skip(
            f"the scripts that install and run autobahntestsuite 25.10.1 are not here: put their folder at {suite}, or "
            "name it by AUTOBAHN=/path/to/autobahn (it holds run_server_cases.sh and setup_wstest.sh)"
        )
    return suite.resolve()


@nox.session
def oldest(session: nox.Session) -> None:
    """Run every test with the oldest dependencies that pyproject.toml allows, to keep its lower bounds honest.

    The extra `redis` needs a later trio than the rest, so its tests have a run of their own. Arguments go to pytest,
    and then there is only the first run.
    """
    extras = dict(PROJECT["project"]["optional-dependencies"])
    of_redis = extras.pop("redis")
    others = [dependency for extra in extras.values() for dependency in extra]
    session.install("-e.", *groups("test"), *lower_bounds(PROJECT["project"]["dependencies"] + others))
    npm_install(session, "tests/interop")
    if session.posargs:
        session.run("pytest", *on_all_cores(session.posargs), *session.posargs)
        return
    with_redis = [
        f"tests/{path.name}"
        for path in sorted(Path("tests").glob("test_*.py"))
        if "\nfrom redis_server import " in path.read_text("utf-8")
    ]
    session.run("pytest", *on_all_cores([]), *(f"--ignore={name}" for name in with_redis))
    session.install(*lower_bounds(of_redis))
    session.run("pytest", *with_redis)


def lower_bounds(dependencies: list[str]) -> list[str]:
    """Return the oldest version that each of these allows, as a requirement."""
    return [re.sub(r">=([\d.]+),.*", r"==\1", dependency) for dependency in dependencies]


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run every test on each other supported Python that is installed; the summary names those that are absent."""
    session.install("-e.", *groups("test"))
    npm_install(session, "tests/interop")
    session.run("pytest", *on_all_cores(session.posargs), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style (ruff) and the use of trio (flake8-async)."""
    session.install(*groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # C, E, F and W are ruff's. 109: the API takes timeouts in seconds. 114: a list of names that somebody must keep.
    # 124: a handler may have to be async without waiting for anything. 128: it may pass `task_status` on.
    ignored = "C,E,F,W,ASYNC109,ASYNC114,ASYNC124,ASYNC128"
    # Tests catch what must come out (104, 401), and cancel one nursery in another (111, 112).
    in_tests = "tests/*:ASYNC104,ASYNC111,ASYNC112,ASYNC401"
    session.run(
        *("flake8", f"--extend-ignore={ignored}", f"--per-file-ignores={in_tests}"),
        *("trio_bunws", "tests", "examples", "benchmarks", "noxfile.py"),
    )


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types twice, and that every public name has one."""
    session.install("-e.", *groups("typing"))
    session.run("mypy", "--strict", "trio_bunws", "tests", "examples", "noxfile.py")
    on_pages = Path(session.create_tmp()).resolve() / "pages"
    shutil.rmtree(on_pages, ignore_errors=True)
    on_pages.mkdir()
    session.run("python", "tests/pages.py", str(on_pages))
    session.run("mypy", "--strict", str(on_pages))
    session.run("pyright")
    session.run("pyright", "--verifytypes", "trio_bunws", "--ignoreexternal")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist, from that the wheel, and look into both; use the wheel, and the sdist without a compiler."""
    dist = Path("dist").resolve()
    shutil.rmtree(dist, ignore_errors=True)
    session.install(*groups("build"))
    # An extension that fails to build is left out, so a warning of the compiler is found below.
    strict = {"CFLAGS": "-Wall -Wextra -Werror"}
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True, env=strict)
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    look_into(session, wheel, sdist)
    use(session, wheel, "c")
    use(session, sdist, "python", {"CC": "/bin/false"})


def look_into(session: nox.Session, wheel: Path, sdist: Path) -> None:
    """Demand that the sdist has all that git has, the wheel all of the library, and neither what git ignores."""
    if not Path(".git").exists() or shutil.which("git") is None:
        session.warn("What was built is not compared with what is in git: either git or the repository is not here")
        return
    tracked = {name for name in git_files(session) if Path(name).exists()}
    known = tracked | git_files(session, "--others", "--exclude-standard")
    with tarfile.open(sdist) as opened:
        packed = {member.name.partition("/")[2] for member in opened if not member.isdir()}
    made = {name for name in packed if name in {"PKG-INFO", "setup.cfg"} or name.startswith("trio_bunws.egg-info/")}
    differing = {"sdist": (tracked - packed) | (packed - made - known)}

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {name for name in known if name.startswith("trio_bunws/_c/")}
    library = {name for name in known - sources if name.startswith("trio_bunws/")}
    differing["wheel"] = packed ^ (library | {"trio_bunws/_speed.abi3.so"})
    for what, names in differing.items():
        if names:
            session.error(f"left out of the {what}, or in it by mistake (MANIFEST.in): {', '.join(sorted(names))}")


def git_files(session: nox.Session, *which: str) -> set[str]:
    """Return the names of the files that git has, or of ``which``."""
    # In CI the files may be another user's, to whom git would not listen.
    listing = ("git", "-c", "safe.directory=*", "ls-files", *which)
    return set(str(session.run(*listing, external=True, silent=True)).splitlines())


def use(session: nox.Session, distribution: Path, implementation: str, compiler: dict[str, str] | None = None) -> None:
    """Install what was built where there is nothing else, and use it from an empty directory."""
    env = {"PYTHONPATH": "", **(compiler or {})}  # the repository is not to be found either
    clean = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "venv", "--clear", str(clean / "venv"))
    python = str(clean / "venv" / "bin" / "python")
    session.run(python, "-m", "pip", "install", "--quiet", "--no-cache-dir", str(distribution), external=True, env=env)
    empty = clean / "empty"
    empty.mkdir(exist_ok=True)
    with session.chdir(empty):
        session.run(python, "-W", "error", "-c", SMOKE_TEST, implementation, external=True, env=env)
        session.run(str(clean / "venv" / "bin" / "trio-bunws"), "--help", external=True, silent=True, env=env)


@nox.session
def changelog(session: nox.Session) -> None:
    """Show what the next release will tell of `changes/`; with its version as argument, move that to CHANGELOG.md."""
    session.install(*groups("changelog"))
    if session.posargs:
        (version,) = session.posargs
        session.run("towncrier", "build", "--yes", "--version", version)
    else:
        session.run("towncrier", "build", "--draft", "--version", "unreleased")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation (docs/_build/html), every warning an error; `-- linkcheck` asks other sites, too."""
    session.install("-e.", *groups("docs"))
    for builder in ("html", *session.posargs):
        session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "-b", builder, "docs", f"docs/_build/{builder}")
    session.log("The first page is docs/_build/html/index.html")


@nox.session
def chat(session: nox.Session) -> None:
    """Serve the example chat, which prints its address (http://127.0.0.1:3000/); arguments go to its server."""
    session.install("-e.", *groups("chat"))
    session.run("python", "examples/chat/server.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Look for bytes that break what reads them (atheris), ten minutes for each target; an argument is the seconds."""
    session.install("-e.", *groups("fuzz"))
    (seconds,) = session.posargs or ["600"]
    found = Path(session.create_tmp()).resolve()
    for target in ("http_stream", "codec"):
        grown = found / target  # what covers something new; the corpus of the repository only has what people wrote
        grown.mkdir(exist_ok=True)
        session.run(
            *("python", "tests/fuzz/run.py", target, f"-max_total_time={seconds}", "-max_len=3000", "-timeout=20"),
            *("-rss_limit_mb=1024", f"-dict=tests/fuzz/{target}.dict", f"-artifact_prefix={found}/broken-by-{target}-"),
            *(str(grown), f"tests/fuzz/corpus/{target}"),
        )


@nox.session
def soak(session: nox.Session) -> None:
    """Load a server with 5,000 clients for ten minutes; `-- --minutes 2 --connections 500` for less."""
    session.install("-e.")
    session.run("python", "tests/soak/soak.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Print the table of bars, next to other servers: fifteen minutes, `-- --quick`: two; arguments go to table.py."""
    prepare_benchmarks(session)
    session.run("python", "benchmarks/table.py", *session.posargs)


@nox.session
def bench_compression(session: nox.Session) -> None:
    """Compare a chat with compression, about five minutes, and set off bombs; arguments go to the comparison."""
    prepare_benchmarks(session)
    session.run("python", "benchmarks/deflate.py", *session.posargs)
    session.run("python", "benchmarks/bombs.py")


@nox.session
def bench_observability(session: nox.Session) -> None:
    """Show what metrics and traces cost, and that they cost nothing where they are not used; two minutes."""
    session.install("-e.", *groups("test"))
    session.run("python", "benchmarks/observability.py", *session.posargs)


def prepare_benchmarks(session: nox.Session) -> None:
    """Install the project and the servers that it is compared with."""
    session.install("-e.", "-r", "benchmarks/peers/requirements.txt")
    if not os.environ.get("BENCH_NODE_MODULES"):
        npm_install(session, "benchmarks/peers")
