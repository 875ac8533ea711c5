"""`python -m gridpilot`."""

import signal
import sys

from gridpilot.ending import at_once, runs_until_stopped
from gridpilot.errors import INTERRUPTED

if runs_until_stopped(sys.argv[1:]):
    at_once()  # before the imports, which take a while
try:
    from gridpilot.cli import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.stderr.write(f"gridpilot: {INTERRUPTED}\n")
    sys.exit(128 + signal.SIGINT)
