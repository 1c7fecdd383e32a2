"""One run of Autobahn's suite against our client, and what its report is worth; `run.py` asks for it.

Anything that the client has written to its standard error is wrong as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.report import judge

if TYPE_CHECKING:
    from compliance.runs import Run

CLIENT = Path(__file__).parent / "echo_client.py"
TIMEOUT = "1500"
"""Seconds for one run."""


def run_client_cases(suite: Path, run: Run, output: Path) -> list[str]:
    """Let the suite test our client; return what was wrong."""
    output.mkdir(parents=True, exist_ok=True)
    log = output / "client.log"
    suite_options = ["--out", str(output), "--agent", run.name, "--timeout", TIMEOUT, "--strict", "--cases", *run.cases]
    command = [sys.executable, str(suite / "run_client_cases.py"), *suite_options]
    command += ["--", sys.executable, "-W", "error", str(CLIENT), run.name]
    began = time.monotonic()
    with log.open("w") as stderr:
        status = subprocess.run(command, env=dict(os.environ), stderr=stderr, check=False).returncode
    seconds = time.monotonic() - began
    print(f"{run.name} took {seconds:.1f} s", flush=True)
    return judge(run, output, status, log)
