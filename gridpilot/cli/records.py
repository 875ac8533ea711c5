"""Commands on the ledger and the site: verify, export, prune, replay a decision, curtail, try faults."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gridpilot.cli import options, texts
from gridpilot.cli.options import Command, Result
from gridpilot.config import load_settings
from gridpilot.errors import GridPilotError, InputError
from gridpilot.values import iso, to_jsonable


def add(command: Command) -> None:
    """Add them to the command line."""
    sub = command("verify-ledger", _verify_ledger, "check the ledger's chain", texts.verified)
    sub.add_argument("--file", type=options.file, metavar="F.parquet", help="check a file of exported entries instead")

    sub = command("export-ledger", _export_ledger, "write entries, prices and commands as Parquet", texts.export)
    sub.add_argument("--out", type=options.file, required=True, metavar="FOLDER", help="where the files go (required)")
    sub.add_argument("--since", type=options.day, metavar="D", help="from this day on (UTC)")
    sub.add_argument("--until", type=options.day, metavar="D", help="before this day (UTC)")
    sub.set_defaults(done=lambda result: ". The files were written all the same")

    sub = command("prune-ledger", _prune_ledger, "move old entries into a Parquet file", texts.pruned)
    sub.add_argument(
        "--keep-days", type=options.count, required=True, metavar="N", help="what stays, 2 or more (required)"
    )
    sub.add_argument("--out", type=options.file, metavar="FOLDER", help="default: the ledger's .archive folder")

    sub.set_defaults(done=lambda result: f". {result['removed']} entries were moved all the same")

    sub = command("fleet", _fleet, "each site of a fleet at its newest decision, from its ledger", texts.fleet)
    sub.add_argument("file", type=options.file, metavar="FLEET.toml", help="the fleet file")
    sub.add_argument("--hours", type=options.number, default=24.0, metavar="N", help="of P&L (default: 24)")

    sub = command("replay", _replay, "make a recorded decision again and compare it bit for bit", texts.replay)
    sub.add_argument(
        "cycle_id", metavar="CYCLE_ID", help="as `cycle --json` and the screens name it; `last`: the newest"
    )

    sub = command("curtail", _curtail, "draw less from the grid for a time, or see what came of it", texts.curtail)
    sub.add_argument("--percent", type=options.number, metavar="P", help="of the baseline, that is left out")
    sub.add_argument(
        "--import-kw", type=options.number, metavar="KW", help="the most to be drawn, in place of --percent"
    )
    sub.add_argument("--start", type=options.moment, metavar="T", help="default: now, in the source's time")
    sub.add_argument("--minutes", type=options.number, metavar="N", help="how long (default: 60)")
    sub.add_argument("--ramp-s", type=options.number, metavar="S", help="seconds in which the limit falls (default: 0)")
    sub.add_argument("--reason", metavar="TEXT", help="why, for the record (default: by the command line)")
    sub.add_argument("--author", metavar="NAME", help="who, for the record (default: command line)")
    sub.add_argument("--cancel", type=options.name, metavar="ID", help="end one before its time")
    sub.add_argument("--report", type=options.name, metavar="ID", help="what was metered")
    sub.set_defaults(done=_curtailed)

    sub = command("simulate", _simulate, "faults of the simulated site, in place of those before", texts.faults)
    for name, told in (("failed", "machines that stand still"), ("stuck", "machines that do not obey")):
        sub.add_argument(f"--{name}", type=options.amount, action="append", metavar="TYPE=N", help=told)
    for name, low, high, told in (
        ("heat-c", -50.0, 200.0, "degrees that the hottest machine is hotter"),
        ("cooling-frac", 0.0, 1.0, "the part of the cooling that works, 0..1"),
        ("soc-frac", -1.0, 2.0, "what the battery's sensor says in place of the truth"),
        ("frequency-hz", 0.0, 1000.0, "the grid's frequency"),
        ("import-kw", 0.0, 1e6, "the most that the site says its connection may draw"),
    ):
        sub.add_argument(f"--{name}", type=options.within(low, high), metavar="X", help=told)
    sub.add_argument("--soc-lost", action="store_true", help="the battery's sensor is lost")
    sub.set_defaults(done=lambda result: ". The faults are in force all the same")


def _verify_ledger(args: argparse.Namespace) -> Result:
    from gridpilot.errors import LedgerError
    from gridpilot.ledger.export import check_file
    from gridpilot.ledger.store import Ledger

    if args.file:
        found = check_file(args.file)
    else:
        with Ledger.open(load_settings().database_url(), read_only=True) as ledger:
            found = ledger.verify()
    body: Result = to_jsonable(found)
    if not found.ok:
        with suppress(options.Unheard, BrokenPipeError):  # what is wrong is said all the same
            options.tell((json.dumps(body) if args.json else texts.verified(body)) + "\n")
        raise LedgerError(f"{args.file or 'the ledger'} does not verify: {found.reason}")
    return body


def _export_ledger(args: argparse.Namespace) -> Result:
    from gridpilot.ledger.export import export
    from gridpilot.ledger.store import Ledger

    with Ledger.open(load_settings().database_url(), read_only=True) as ledger:
        return {"files": to_jsonable(export(ledger, args.out, args.since, args.until))}


def _prune_ledger(args: argparse.Namespace) -> Result:
    from gridpilot.ledger.prune import prune
    from gridpilot.ledger.store import Ledger

    with Ledger.open(load_settings().database_url()) as ledger:
        body: Result = to_jsonable(prune(ledger, args.keep_days, datetime.now(UTC), args.out))
    return body


def _fleet(args: argparse.Namespace) -> Result:
    from gridpilot.views.fleet import of_file

    if not 0.0 < args.hours <= 24.0 * 366:
        raise InputError(f"--hours is {args.hours:g}: expected more than 0 and at most a year")
    return of_file(args.file, args.hours)


# --- decisions and the site ------------------------------------------------------------------


def _replay(args: argparse.Namespace) -> Result:
    from gridpilot.evidence import replay
    from gridpilot.ledger.store import Ledger

    with Ledger.open(load_settings().database_url(), read_only=True) as ledger:
        newest = ledger.latest("cycle") if args.cycle_id == "last" else None
        if args.cycle_id == "last" and newest is None:
            raise InputError("there is no decision in the ledger yet: run `cycle` or the console first")
        found = replay(ledger, newest.cycle_id if newest else args.cycle_id)
    body: Result = to_jsonable(found)
    if not found.same:
        with suppress(options.Unheard, BrokenPipeError):  # what is wrong is said all the same
            options.tell((json.dumps(body) if args.json else texts.replay(body)) + "\n")
        raise GridPilotError(f"the decision is not the same: {found.differences[0][0]} and others differ")
    return body


def _curtail(args: argparse.Namespace) -> Result:
    from gridpilot.dispatch import curtailment
    from gridpilot.ledger.store import Ledger
    from gridpilot.monitor.curtailments import audit, find
    from gridpilot.monitor.health import PilotState
    from gridpilot.views.base import of_file

    _one_act(args)
    minutes, ramp_s = 60.0 if args.minutes is None else args.minutes, args.ramp_s or 0.0
    author = "command line" if args.author is None else args.author
    reason = "by the command line" if args.reason is None else args.reason
    with Ledger.open(load_settings().database_url()) as ledger:
        pilot, newest = PilotState.load(ledger), ledger.latest("cycle")
        now = newest.at if newest is not None and of_file(newest) else pilot.present(datetime.now(UTC))
        if args.report:
            event = find(ledger, args.report)
            found = audit(ledger, event, now)
            measured = None if found is None else {**to_jsonable(found), "kept": found.kept}
            return {"event": to_jsonable(event), "audit": measured}
        if args.cancel:
            done = curtailment.cancel(ledger, args.cancel, author=author, reason=reason, now=now)
            return {"event": to_jsonable(done), "audit": None}
        if newest is None:
            raise InputError("there is no decision yet, so the source's time is not known: wait for the first cycle")
        start = args.start or now + pilot.notice
        if start > now + curtailment.AHEAD:
            raise InputError(
                f"--start is {iso(start)}: expected at most {curtailment.AHEAD.days} days ahead of {iso(now)}"
            )
        if not 0.0 < minutes <= 1440.0:
            raise InputError(f"--minutes is {minutes:g}: expected more than 0 and at most 1440")
        event = curtailment.Curtailment(
            f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}",
            "operator",
            author,
            reason,
            start,
            start + timedelta(minutes=minutes),
            args.import_kw,
            args.percent,
            ramp_s,
        )
        return {"event": to_jsonable(curtailment.submit(ledger, event, now)), "audit": None}


def _one_act(args: argparse.Namespace) -> None:
    """A report, a cancellation or a new event: what is of another one is a slip."""
    new = ("percent", "import_kw", "start", "minutes", "ramp_s")
    for act, others in (("report", ("cancel", *new, "reason", "author")), ("cancel", new)):
        both = [name for name in others if getattr(args, name) is not None]
        if getattr(args, act) is not None and both:
            raise InputError(f"--{act} and --{both[0].replace('_', '-')} do not go together: give one of them")


def _curtailed(result: Result) -> str:
    """What is on record, where it cannot be shown."""
    event = result["event"]
    return (
        f". Curtailment {event['id']} is on record as {event['status']}: do not give it again, see `curtail --report`"
    )


def _simulate(args: argparse.Namespace) -> Result:
    from gridpilot.config import load_site
    from gridpilot.dispatch.simulator import Faults, SimulatedGateway
    from gridpilot.dispatch.way import open_gateway
    from gridpilot.ledger.store import Ledger
    from gridpilot.monitor.health import PilotState

    settings = load_settings()
    if settings.source == "mara":
        raise InputError("the machines are MARA's and not simulated: unset GRIDPILOT_SOURCE, or use `mara-server`")
    named = ("failed", "stuck")
    given: dict[str, dict[str, float]] = {n: options.by_name(f"--{n}", getattr(args, n) or ()) for n in named}
    site = load_site(settings.site_file())
    there = {m.type: m.count for m in site.machines}
    for counts in given.values():
        for name, number in counts.items():
            if name not in there or number != int(number):
                raise InputError(f"{name}={number:g}: expected a whole number of {', '.join(there)}")
            if not 0 <= number <= there[name]:
                raise InputError(f"{name}={number:g}: the site has {there[name]} of them, expected 0 to {there[name]}")
    others = ("heat_c", "cooling_frac", "soc_frac", "frequency_hz", "import_kw")
    said = {name: getattr(args, name) for name in others if getattr(args, name) is not None}
    failed, stuck = ({type_: int(n) for type_, n in given[name].items()} for name in named)
    faults = Faults(failed, stuck, **said, soc_lost=args.soc_lost)
    with Ledger.open(settings.database_url()) as ledger:
        gateway = open_gateway(site, ledger, None)
        assert isinstance(gateway, SimulatedGateway)  # noqa: S101 - for the type checker
        gateway.inject(faults, PilotState.load(ledger).present(datetime.now(UTC)))
    body: Result = to_jsonable(faults)
    return body
