"""`python -m gridpilot`."""

import signal
import sys

from gridpilot.ending import at_once, over, runs_until_stopped
from gridpilot.errors import INTERRUPTED

until_stopped = runs_until_stopped(sys.argv[1:])
if until_stopped:
    at_once()  # before the imports, which take a while
try:
    from gridpilot.cli import main

    code = main()
    if until_stopped:
        over()
    sys.exit(code)
except KeyboardInterrupt:
    sys.stderr.write(f"gridpilot: {INTERRUPTED}\n")
    sys.exit(128 + signal.SIGINT)
