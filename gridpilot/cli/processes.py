"""The commands that run until they are stopped: pilot, watchdog, watch, all of them, a demonstration, the stand-in."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from gridpilot import ending
from gridpilot.cli import options
from gridpilot.cli.options import Command
from gridpilot.config import load_settings
from gridpilot.errors import InputError


def add(command: Command) -> None:
    """Add them to the command line."""
    sub = command("pilot", _pilot, "run a cycle each interval until stopped", str)
    _kept(sub)

    sub = command("watchdog", _watchdog, "switch the site off when the pilot is silent", str)
    _kept(sub)
    sub.add_argument(
        "--grace",
        type=options.from_zero,
        default=60.0,
        metavar="S",
        help="seconds that a pilot has to start (default: 60)",
    )
    sub.add_argument("--check", choices=("pilot", "watchdog"), help="say whether it is well, and end")

    sub = command("watch", _watch, "keep the alarms and tell them outside", str)
    _kept(sub)
    sub.add_argument("--check", action="store_true", help="say whether a watch is at work, and end")

    sub = command("up", _up, "console, pilot, watchdog and watch together, until stopped", str)
    sub.add_argument("--port", type=options.port, default=8501, metavar="N", help="of the console (default: 8501)")
    sub.add_argument("--fleet", type=options.file, metavar="FLEET.toml", help="and the same of each site of a fleet")

    sub = command("demo", _demo, "record the most telling days of the replay, then the console with a tour", str)
    sub.add_argument("--port", type=options.port, default=8501, metavar="N", help="of the console (default: 8501)")

    sub = command("mara-server", _mara_server, "local stand-in of the MARA API", str)
    sub.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    sub.add_argument("--port", type=options.port, default=8787, metavar="N", help="port to listen on (default: 8787)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of its random prices (default: 0)")
    sub.add_argument(
        "--speed", type=options.from_zero, default=1.0, metavar="X", help="simulated seconds per second (default: 1)"
    )


def _kept(sub: argparse.ArgumentParser) -> None:
    """Of a process that another one may keep."""
    sub.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")


def _follow(args: argparse.Namespace) -> None:
    if args.exit_with_parent:
        ending.end_with(ending.keeper() or os.getppid())


def _pilot(args: argparse.Namespace) -> None:
    from gridpilot.pilot import run_pilot

    _follow(args)
    run_pilot(load_settings())


def _watchdog(args: argparse.Namespace) -> None:
    from gridpilot.watchdog import check, run_watchdog

    if args.check:
        check(load_settings(), args.check)
        options.tell(f"{args.check}: at work\n")
        return
    _follow(args)
    run_watchdog(load_settings(), grace_s=args.grace)


def _watch(args: argparse.Namespace) -> None:
    from gridpilot.watch import check, run_watch

    if args.check:
        check(load_settings())
        options.tell("watch: at work\n")
        return
    _follow(args)
    run_watch(load_settings())


def _up(args: argparse.Namespace) -> None:
    from gridpilot import supervise
    from gridpilot.monitor.courier import receiver

    receiver(load_settings())  # what is wrong with them is said once, here
    if args.fleet is not None:
        supervise.run(supervise.fleet(args.fleet, args.port))
        return
    supervise.run((supervise.console(args.port), *supervise.engine()))


def _demo(args: argparse.Namespace) -> None:
    from gridpilot import demo, supervise

    console = supervise.console(args.port)  # what is in its way is said before the recording
    ending.interrupt_once()  # either ends the recording, too, and deletes the folder
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="gridpilot-demo-") as folder:
        os.environ |= demo.environment(Path(folder))
        chapters = demo.record(load_settings(), _recording)
        where = f"http://localhost:{args.port}"
        options.tell(f"\nA tour of {len(chapters)} chapters is on {where} (Ctrl-C ends it and deletes the record)\n")
        supervise.run((console, *supervise.engine()))


def _recording(done: int, of: int, at: datetime) -> None:
    """On a terminal one line that changes, elsewhere a line now and then."""
    if sys.stdout.isatty():
        options.tell(f"\rRecording the demonstration: {at:%a %d %b %Y %H:%M} UTC, {done} of {of} hours ")
    elif done % 10 == 0:
        options.tell(f"Recording the demonstration: {done} of {of} hours\n")


def _mara_server(args: argparse.Namespace) -> None:
    from gridpilot.mara_server import serve

    told = f"http://{args.host}:{args.port} (seed {args.seed}, speed {args.speed:g}x)"
    options.tell(f"MARA stand-in on {told}; Ctrl-C stops it\n")
    try:
        serve(args.host, args.port, args.seed, args.speed)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
        why = error.strerror if isinstance(error, OSError) else "no name of a host"
        hint = "another --port" if taken else "--host an address of this machine, as 127.0.0.1"
        raise InputError(f"cannot listen on {args.host}:{args.port}: {why}; give {hint}") from None
