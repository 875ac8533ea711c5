"""The command line: `python -m gridpilot COMMAND`. Its names and JSON keys are a public contract.

Exit code 0 on success, 2 on bad input, 1 where it could not be done; a failure is one line on stderr. `studies` are the
commands that read files, `processes` those that run until they are stopped, `records` those on the ledger and the site.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NoReturn

from gridpilot.cli import options, processes, records, studies, texts
from gridpilot.cli.options import Result
from gridpilot.errors import INTERRUPTED, GridPilotError, InputError
from gridpilot.foreign import line

GROUPS = {  # of the commands, in `--help`; what stands in none of them comes last
    "Run the site": ("cycle", "up", "pilot", "watchdog", "watch", "fleet"),
    "Operate it": ("curtail", "simulate"),
    "Study prices, bids and money in files": ("forecast", "evaluate", "backtest", "plan", "auction", "risk"),
    "Look into the ledger": ("replay", "verify-ledger", "export-ledger", "prune-ledger"),
    "Try it out": ("demo", "mara-server"),
}
AFTER = """\
`COMMAND --help` has its options and file formats; settings and exit codes stand in docs/reference.md.
Exit code: 0 done; 2 bad input (an option, a file, a setting); 1 it could not be done, or a check
failed. A failure is one line on stderr."""


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        options.tell(self.format_help())

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("gridpilot").strip()
        where = f"{command}: " if command else ""
        raise InputError(
            f"{where}{message}; see `{' '.join(['.venv/bin/python -m gridpilot', *command.split()])} --help`"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    if sys.stderr is None:  # closed: nor is the first file that is opened to be written over by what a library prints
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    if sys.stdout is None:  # then the first file that is opened, the ledger, would get what is printed
        return _fail("stdout is closed: open it, or send it to /dev/null; nothing was done", 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another encoding shows \\u2013, no failure
    try:
        args = _parser().parse_args(argv)
        with _only_ours() if args.json else nullcontext():
            result = args.run(args)
        if result is not None:
            _show(args, result)
        return 0
    except InputError as error:
        return _fail(str(error), 2)
    except GridPilotError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, 128 + signal.SIGINT)


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
        if options.is_descriptor_1(ours):
            sys.stdout = open(os.dup(kept), "w", encoding=ours.encoding, errors=ours.errors)  # noqa: SIM115, PTH123 - closed below
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        if sys.stdout is not ours:
            meanwhile, sys.stdout = sys.stdout, ours
            with suppress(OSError):  # it was said where it was written
                meanwhile.close()


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"gridpilot: {line(message)}\n")
    return code


def _show(args: argparse.Namespace, result: Result) -> None:
    """Its result as JSON or text. Where nobody can be told, what was done all the same is said with the failure."""
    try:
        options.tell((json.dumps(result, allow_nan=False) if args.json else texts.visible(args.text(result))) + "\n")
    except options.Unheard as error:
        raise options.Unheard(f"{error}{args.done(result)}") from None


def _parser() -> argparse.ArgumentParser:
    lines = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="gridpilot", usage=".venv/bin/python -m gridpilot COMMAND [options]", epilog=AFTER, formatter_class=lines
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser, prog="gridpilot", help=argparse.SUPPRESS
    )
    helps: dict[str, str] = {}

    def command(
        name: str, run: Callable[[argparse.Namespace], Result | None], help_: str, text: Callable[[Result], str]
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_, formatter_class=lines)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(run=run, text=text, done=lambda result: "")
        helps[name] = help_
        return sub

    studies.add(command)
    processes.add(command)
    records.add(command)
    parser.description = "Decision engine for sites with flexible compute.\n\n" + _listed(helps)
    return parser


def _listed(helps: dict[str, str]) -> str:
    """The commands by group, one a line."""
    known = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "Others": tuple(name for name in helps if name not in known)}
    width = max(len(name) for name in helps) + 2
    parts = []
    for title, names in groups.items():
        rows = [f"    {name:<{width}}{helps[name]}" for name in names if name in helps]
        if rows:
            parts.append("\n".join([f"{title}:", *rows]))
    return "\n\n".join(parts)
