"""An example of examples/ as a process of its own, started as its first line says, and asked to end with Ctrl-C.

Where the process listens is read from what it prints. How a test talks to it is the test's business.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interop.programs import next_line
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLES = Path(__file__).parents[1] / "examples"


@contextmanager
def running_example(name: str, *arguments: str, **environment: str) -> Generator[int]:
    """Run `examples/<name>.py` in the block, which gets its port; demand that it ends well, without a complaint."""
    file = EXAMPLES / f"{name}.py"
    assert file.read_text("utf-8").startswith(f"# python examples/{name}.py [port")
    command = [sys.executable, "-W", "error", str(file), "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            found = re.search(r"//127\.0\.0\.1:(\d+)/", next_line(process))
            assert found
            yield int(found[1])
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=PATIENCE)
            assert (process.returncode, complaints) == (0, "")
        finally:
            process.kill()
