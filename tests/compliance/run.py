# python tests/compliance/run.py SUITE OUTPUT [RUN ...]
"""Runs Autobahn's suite against our server and our client and judges its reports: `nox -s compliance` does it.

SUITE is the folder of the suite's scripts, OUTPUT where its reports go. Ends with status 1 if anything is wrong, which
includes anything that the server has written to its standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))
from compliance.client_runs import CLIENT_RUNS
from compliance.report import judge
from compliance.run_client import run_client_cases
from compliance.runs import RUNS

if TYPE_CHECKING:
    from collections.abc import Generator

    from compliance.runs import Run

SERVER = Path(__file__).parent / "echo_server.py"
TIMEOUT = "300"
"""Seconds for one run, which takes about 20."""
LONG_TIMEOUT = "3000"


@contextmanager
def serving(run: Run, log: Path) -> Generator[str]:
    """Start the server of a run, and yield its address; what it complains of goes to `log`."""
    with log.open("w") as stderr:
        command = [sys.executable, "-W", "error", str(SERVER), run.name]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process:
            assert process.stdout is not None  # it is a pipe
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            yield f"ws://127.0.0.1:{port}"
            process.communicate()


def run_server_cases(suite: Path, run: Run, output: Path) -> list[str]:
    """Let the suite test our server; return what was wrong."""
    output.mkdir(parents=True, exist_ok=True)
    log = output / "server.log"
    environment = {
        **os.environ,
        "WSTEST_TIMEOUT": LONG_TIMEOUT if run.is_long else TIMEOUT,
        "WSTEST_STRICT": "1",
        "WSTEST_LABEL": f"Autobahn's own view of {run.name}",
    }
    with serving(run, log) as url:
        began = time.monotonic()
        command = [str(suite / "run_server_cases.sh"), url, str(output), *run.cases]
        status = subprocess.run(command, env=environment, check=False).returncode
        seconds = time.monotonic() - began
    print(f"{run.name} took {seconds:.1f} s", flush=True)
    return judge(run, output, status, log)


def main() -> None:
    """Do the runs that are named, or all."""
    suite, output = Path(sys.argv[1]), Path(sys.argv[2])
    subprocess.run([str(suite / "setup_wstest.sh")], stdout=subprocess.DEVNULL, check=True)  # not in a run's time
    failed = False
    runs = {**RUNS, **CLIENT_RUNS}
    for name in sys.argv[3:] or [name for name, run in runs.items() if not run.is_long]:
        run_cases = run_client_cases if name in CLIENT_RUNS else run_server_cases
        for complaint in run_cases(suite, runs[name], output / name):
            failed = True
            print(f"{name}: {complaint}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
