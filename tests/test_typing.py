"""The types as an application meets them: what should type-check does, and each mistake is found where it is made.

The files of tests/typing are read by mypy, all in one run and as strictly as it can. Lines of `rejected_*.py` name the
errors that they must give, as in `# E: arg-type`; everything else must give none. The project's own pyright run holds
the same lines to be errors: it reports the ignores in these files that it does not need.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "tests" / "typing").glob("*.py"))
EXPECTED = re.compile(r"# E: ([a-z, -]+?)(?:  #|$)")
REPORTED = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: .*  \[(?P<code>[a-z-]+)\]")

# By file name and line: the codes of the errors there.
Errors: TypeAlias = "Mapping[tuple[str, int], set[str]]"


def expected(path: Path) -> Errors:
    """Read what the comments of a file promise."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    return {
        (path.name, number): set(found[1].split(", ")) for number, line in lines if (found := EXPECTED.search(line))
    }


def reported(output: str) -> Errors:
    """Read what mypy has found; a line that is no error and no note is a failure of mypy itself."""
    errors: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for line in output.splitlines():
        match = REPORTED.fullmatch(line)
        if match is not None:
            errors[Path(match["file"]).name, int(match["line"])].add(match["code"])
        elif ": note: " not in line:
            raise AssertionError(output)
    return errors


def test_mypy_finds_exactly_the_mistakes_that_are_marked(tmp_path: Path) -> None:
    """All files in one run, for trio's types are read one time then."""
    options = ["--config-file=", "--strict", "--no-pretty", "--no-error-summary", "--no-color-output"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", *map(str, FILES)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert run.stderr == ""
    assert reported(run.stdout) == {place: codes for path in FILES for place, codes in expected(path).items()}


def test_only_files_of_mistakes_expect_any() -> None:
    assert {path.name.partition("_")[0] for path in FILES} == {"accepted", "rejected"}
    for path in FILES:
        assert bool(expected(path)) == path.name.startswith("rejected_")


def test_every_mistake_is_one_for_pyright_too() -> None:
    for path in FILES:
        text = path.read_text("utf-8")
        marked = [line for line in text.splitlines() if EXPECTED.search(line)]
        assert [line for line in marked if "# pyright: ignore[" not in line] == []
        assert not marked or "\n# pyright: reportUnnecessaryTypeIgnoreComment=true\n" in text
