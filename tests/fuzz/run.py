"""Looks for inputs of one target that break it, with atheris (libFuzzer): `nox -s fuzz` runs it.

`python tests/fuzz/run.py TARGET [libFuzzer's options] [folders of inputs]`. Writes what it finds where
`-artifact_prefix=` says; such a file belongs into `corpus/TARGET`, so that every test run plays it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Import the target so that its coverage is seen, and run until libFuzzer ends the process."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    # Imported by name: only the environment of this session has it, not that of the type checkers.
    atheris = importlib.import_module("atheris")
    target, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["trio_bunws", "h11"]):
        check = importlib.import_module(f"fuzz.{target}").check
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


main()
