"""The command line: `python -m gridpilot COMMAND`. Its names and JSON keys are a public contract.

Exit code 0 on success, 2 on bad input, 1 on any other failure; a failure is one line on stderr. `studies` are the
commands that read files, `processes` those that run until they are stopped, `records` those on the ledger and the site.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn, TextIO

from gridpilot.cli import processes, records, studies, texts
from gridpilot.cli.options import Result
from gridpilot.errors import GridPilotError, InputError
from gridpilot.foreign import line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("gridpilot").strip()
        where = f"{command}: " if command else ""
        raise InputError(f"{where}{message}; see `python -m gridpilot --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another encoding shows \\u2013, no failure
    try:
        args = _parser().parse_args(argv)
        with _only_ours() if args.json else nullcontext():
            result = args.run(args)
        if result is not None:
            _show(json.dumps(result, allow_nan=False) if args.json else texts.visible(args.text(result)))
        return 0
    except InputError as error:
        return _fail(str(error), 2)
    except GridPilotError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        return 0


@contextmanager
def _only_ours() -> Iterator[None]:
    """What libraries in C print goes to stderr meanwhile, not before the JSON; what we write goes to stdout as ever."""
    ours = sys.stdout
    try:
        ours.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a process without stdout or stderr
        yield
        return
    try:
        if _is_descriptor_1(ours):
            sys.stdout = open(os.dup(kept), "w", encoding=ours.encoding, errors=ours.errors)  # noqa: SIM115, PTH123 - closed below
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        if sys.stdout is not ours:
            meanwhile, sys.stdout = sys.stdout, ours
            meanwhile.close()


def _is_descriptor_1(file: TextIO) -> bool:
    try:
        return file.fileno() == 1
    except (OSError, ValueError):  # a test's
        return False


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"gridpilot: {line(message)}\n")
    return code


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gridpilot", description="Decision engine for sites with flexible compute.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, run: Callable[[argparse.Namespace], Result | None], help_: str, text: Callable[[Result], str]
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(run=run, text=text)
        return sub

    studies.add(command)
    processes.add(command)
    records.add(command)
    return parser
