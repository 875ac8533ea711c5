"""Renew requirements.txt (the console) and requirements-dev.txt (tests and benchmarks) from pyproject.toml.

One resolution for both: the development lock is made first and the console's lock is cut from it.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Complete lock of {what}. Made by `make lock` from pyproject.toml; do not edit.\n"


def compile_lock(target: str, what: str, *options: str) -> None:
    """Resolve pyproject.toml into one pinned file."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    quiet = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run([*command, *quiet, *options, "pyproject.toml", "--output-file", target], cwd=ROOT, check=True)
    path = ROOT / target
    path.write_text(HEADER.format(what=what) + path.read_text())


EXTRAS = ("--extra", "dev", "--extra", "forecast", "--extra", "postgres")
compile_lock("requirements-dev.txt", "what tests and benchmarks need", *EXTRAS)
compile_lock("requirements.txt", "what the console needs", "--constraint", "requirements-dev.txt")
