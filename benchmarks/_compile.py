"""Compiles the C of the benchmarks and loads it; which functions it has is known to who asked for it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def compiled(source: str, *flags: str) -> ctypes.CDLL:
    """Compile this file of the folder.

    Raises:
        FileNotFoundError: there is no compiler; says what to install.
        RuntimeError: it did not compile.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise FileNotFoundError("the load generator needs a C compiler (Debian: apt install gcc libc6-dev)")
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "library.so"))
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", target, str(Path(__file__).with_name(source)), *flags]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode:
            raise RuntimeError(result.stderr.strip())
        return ctypes.CDLL(target)
