"""`python -m trio_bunws`: the same as the command `trio-bunws`. Nobody imports this file."""

import sys

from trio_bunws._cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
