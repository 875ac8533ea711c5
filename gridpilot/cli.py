"""The command line: `python -m gridpilot COMMAND`. Its names and JSON keys are a public contract.

Exit code 0 on success, 2 on bad input, 1 on any other failure; a failure is one line on stderr.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from gridpilot import report
from gridpilot.cli_processes import add_processes
from gridpilot.config import DATA, Settings, load_settings, load_site
from gridpilot.domain import DataFlag, PriceHistory, PriceOutlook, Site, SiteState
from gridpilot.errors import MODEL_ERRORS, GridPilotError, InputError
from gridpilot.values import as_array, to_jsonable, to_utc

Result = dict[str, Any]
BRIDGE_S = 3 * 86_400  # gaps in a file of past prices that a forecast fills rather than cutting the past off


MOST_AUDITED = 5000  # bids that are cleared twice for each lie that is tried


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("gridpilot").strip()
        where = f"{command}: " if command else ""
        raise InputError(f"{where}{message}; see `python -m gridpilot --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        args = _parser().parse_args(argv)
        result = args.run(args)
        if result is not None:
            _show(json.dumps(result, allow_nan=False) if args.json else args.text(result))
        return 0
    except InputError as error:
        return _fail(str(error), 2)
    except GridPilotError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        return 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"gridpilot: {' '.join(message.split())}\n")
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

    sub = command("cycle", _cycle, "one decision cycle", _cycle_text)
    sub.add_argument("--source", help="replay, mara or csv:PATH (default: GRIDPILOT_SOURCE)")
    sub.add_argument("--dry-run", action="store_true", help="decide, but write and send nothing")

    sub = command("forecast", _forecast, "forecast the prices after the last row of a file", _forecast_text)
    _price_options(sub)
    sub.add_argument("--horizon", type=_count, default=24, help="steps ahead (default: 24)")
    sub.add_argument("--quick", action="store_true", help="do not fit the ensemble, which takes up to a minute")

    sub = command("evaluate", _evaluate, "rolling-origin evaluation of forecasters, day-ahead", _evaluate_text)
    _price_options(sub)
    sub.add_argument("--start", type=_day, required=True, metavar="D", help="first day, as 2024-01-01")
    sub.add_argument("--end", type=_day, required=True, metavar="D", help="last day")
    sub.add_argument(
        "--models", metavar="A,B", help="models to compare (default: the ensemble); the naives always join"
    )
    sub.add_argument("--timezone", default="UTC", metavar="ZONE", help="whose days are forecast (default: UTC)")
    sub.add_argument("--out", type=Path, metavar="F.csv", help="write every forecast")

    sub = command("backtest", _backtest, "trade a price history with nothing known before its time", _backtest_text)
    _backtest_options(sub)

    sub = command("plan", _plan, "the optimal plan for the prices of a file", _plan_text)
    sub.add_argument("--prices", type=Path, required=True, metavar="F.csv")
    sub.add_argument("--site", type=Path, default=DATA / "site-default.toml", metavar="SITE.toml")
    sub.add_argument("--soc", type=_fraction, required=True, help="state of charge at the start, 0..1")

    sub = command("auction", _auction, "clear one auction", _auction_text)
    _auction_options(sub)

    sub = command("risk", _risk, "risk measures of a P&L sample", _pairs_text)
    sub.add_argument("--pnl", type=Path, required=True, metavar="F.csv")
    sub.add_argument("--alpha", type=_alpha, default=0.95)

    add_processes(command)

    _ledger_commands(command)
    return parser


def _ledger_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    sub = command("verify-ledger", _verify_ledger, "check the ledger's chain", _pairs_text)
    sub.add_argument("--file", type=Path, metavar="F.parquet", help="check a file of exported entries instead")

    sub = command("export-ledger", _export_ledger, "write entries, prices and commands as Parquet", _export_text)
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    sub.add_argument("--since", type=_day, metavar="D", help="from this day on (UTC)")
    sub.add_argument("--until", type=_day, metavar="D", help="before this day (UTC)")

    sub = command("prune-ledger", _prune_ledger, "move old entries into a Parquet file", _pairs_text)
    sub.add_argument("--keep-days", type=_count, required=True, metavar="N", help="2 or more")
    sub.add_argument("--out", type=Path, metavar="FOLDER", help="default: the ledger's .archive folder")


def _price_options(sub: argparse.ArgumentParser, recorded: bool = False) -> None:
    told = "default: what the ledger has recorded" if recorded else "required"
    sub.add_argument("--prices", type=Path, required=not recorded, metavar="F.csv", help=told)
    sub.add_argument("--target", metavar="COL", help="the column to forecast (default: energy_price)")
    sub.add_argument("--exog", metavar="COL,..", help="exogenous columns, known a day ahead")
    sub.add_argument("--country", metavar="CC", help="public holidays as a feature")


def _auction_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--bids", type=Path, required=True, metavar="F.csv")
    sub.add_argument("--capacity-kw", type=_number, required=True)
    sub.add_argument("--reserve", type=_number, default=0.0, help="$/kWh")
    for name, metavar, told in (
        ("--resource", "NAME=X", "capacity of another resource that bids use"),
        ("--cap", "SERVICE=KW", "the most that a service gets"),
    ):
        sub.add_argument(name, type=_amount, action="append", default=[], metavar=metavar, help=told)
    sub.add_argument("--core", action="store_true", help="core-selecting payments: not truthful, see the manual")
    sub.add_argument("--audit", type=_count, metavar="N", help="try N misreports and tell the best gain of one")


def _backtest_options(sub: argparse.ArgumentParser) -> None:
    _price_options(sub, recorded=True)
    sub.add_argument("--site", type=Path, metavar="SITE.toml", help="default: the recorded or the built-in site")
    sub.add_argument("--days", type=_count, metavar="N", help="the newest N whole days, in place of --start")
    sub.add_argument("--start", type=_day, metavar="D", help="first day (default: the first that can be forecast)")
    sub.add_argument("--end", type=_day, metavar="D", help="last day (default: the last whole one)")
    sub.add_argument("--forecaster", default="ensemble", metavar="M", help="default: ensemble")
    sub.add_argument(
        "--information", default="blind", metavar="I", help="blind, published or realtime (default: blind)"
    )
    sub.add_argument(
        "--profiles", type=_count, default=24, help="blind: day profiles to choose from (default: 24; 1: none)"
    )
    sub.add_argument("--out", type=Path, metavar="F.csv", help="write every step")
    sub.add_argument("--progress", type=Path, metavar="F", help="write how far it is; ends when its parent ends")


# --- values of options -----------------------------------------------------------------------


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 10000")
    return value


def _amount(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if not name or not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER, as gpus=64")
    return name, _number(number)


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a fraction from 0 to 1 (68.7 % is 0.687)")
    return value


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a day, as 2024-01-01") from None


def _alpha(text: str) -> float:
    value = _number(text)
    if not 0.5 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a confidence from 0.5 up to, not including, 1 (as 0.95)")
    return value


def _now() -> datetime:
    return datetime.now(UTC)


# --- commands --------------------------------------------------------------------------------


def _settings(args: argparse.Namespace) -> Settings:
    settings = load_settings()
    source = getattr(args, "source", None)
    return settings.model_copy(update={"source": source}) if source else settings


def _cycle(args: argparse.Namespace) -> Result:
    from gridpilot.pilot import one_cycle

    return one_cycle(_settings(args), _now(), dry_run=args.dry_run).to_json()


def _forecast(args: argparse.Namespace) -> Result:
    from gridpilot.forecast.ensemble import forecast, prepare
    from gridpilot.forecast.refit import fit_ensemble, worth_fitting
    from gridpilot.market.csv_file import read_prices

    site = load_site(DATA / "site-default.toml")
    history = read_prices(args.prices, site, target=args.target, bridge_s=BRIDGE_S)
    prepared = prepare(history, "UTC", exog=_columns(args.exog), country=args.country, horizon=args.horizon)
    fits, series, flags = {}, prepared.clock, [*history.flags]
    if not args.quick and worth_fitting(series):
        try:
            with _progress() as told:
                fits = {"energy": fit_ensemble(series, lambda share: told("ensemble", share))}
        except MODEL_ERRORS as error:
            text = f"the ensemble could not be fitted, the quick models stand in: {type(error).__name__}: {error}"
            flags.append(DataFlag("MODEL_SKIPPED", text, "warn", "forecast"))
    body = report.forecast_json(forecast(prepared, args.horizon, fits=fits))
    body["flags"] = to_jsonable(flags) + body["flags"]
    return body


def _evaluate(args: argparse.Namespace) -> Result:
    from dataclasses import replace

    from gridpilot.forecast.days import longest_day
    from gridpilot.forecast.ensemble import prepare
    from gridpilot.forecast.evaluate import DEFAULT, evaluate
    from gridpilot.forecast.registry import named
    from gridpilot.market.csv_file import read_prices

    models = named(args.models) if args.models else DEFAULT
    history = read_prices(args.prices, load_site(DATA / "site-default.toml"), target=args.target, bridge_s=BRIDGE_S)
    series = prepare(history, args.timezone, exog=_columns(args.exog), country=args.country).clock
    if series.exog.shape[1]:  # the columns are day-ahead forecasts: at every midnight the day to come is known
        series = replace(series, exog=series.exog[: len(series)], known_ahead=longest_day(series.step_s))
    with _progress() as told:
        found = evaluate(series, args.start, args.end, models, told)
    if args.out:
        _write_rows(args.out, found.rows())
    flags = [*history.flags]
    return {
        "models": to_jsonable(found.table()),
        "n_days": len(found.truth),
        "failed": dict(found.failed),
        "flags": to_jsonable(flags),
    }


def _backtest(args: argparse.Namespace) -> Result:
    from dataclasses import replace

    from gridpilot.backtest import Terms, backtest, default_days
    from gridpilot.forecast.days import longest_day
    from gridpilot.forecast.ensemble import prepare
    from gridpilot.forecast.registry import named

    names = named(args.forecaster)
    if len(names) != 1:
        raise InputError(f"--forecaster is {args.forecaster!r}: expected one name")
    terms = Terms(names[0], args.information, args.profiles)
    site, history = _traded(args)
    country = args.country or site.country or None
    series = prepare(history, site.timezone, exog=_columns(args.exog), country=country).clock
    if series.exog.shape[1]:
        series = replace(series, exog=series.exog[: len(series)], known_ahead=longest_day(series.step_s))
    first, last = default_days(series, terms.forecaster)
    end = args.end or last
    start = args.start or (end - timedelta(days=args.days - 1) if args.days else first)
    with _progress(args.progress) as told:
        found = backtest(site, history, series, start, end, terms, told)
    if args.out:
        _write_rows(args.out, found.rows())
    body = found.to_json()
    body["flags"] = to_jsonable(history.flags) + body["flags"]
    return body


def _traded(args: argparse.Namespace) -> tuple[Site, PriceHistory]:
    """Site and prices of a backtest: a file's, or what the ledger has recorded."""
    from gridpilot.ledger.store import Ledger
    from gridpilot.market.csv_file import read_prices
    from gridpilot.monitor.recorded import BRIDGE_S as LONGEST_S
    from gridpilot.monitor.recorded import recorded_prices

    if args.prices:
        site = load_site(args.site or DATA / "site-default.toml")
        return site, read_prices(args.prices, site, target=args.target, bridge_s=LONGEST_S)
    if args.target or args.exog:
        raise InputError("--target and --exog name columns of a price file: give it with --prices")
    with Ledger.open(load_settings().database_url(), read_only=True) as ledger:
        site, history = recorded_prices(ledger)
    return (load_site(args.site) if args.site else site), history


@contextmanager
def _progress(file: Path | None = None) -> Iterator[Callable[[str, float], None]]:
    """A bar on the terminal's stderr; none where there is no terminal. `file` gets `share name` at each step."""
    from tqdm import tqdm

    parent = os.getppid()

    with tqdm(total=1.0, disable=None, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}") as bar:

        def told(name: str, share: float) -> None:
            bar.set_description_str(name, refresh=False)
            bar.n = share
            bar.refresh()
            if file is not None:
                file.write_text(f"{share:.4f} {name}")
                if os.getppid() != parent:
                    raise InputError("the process that asked for this is gone")

        yield told


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer: csv.DictWriter[str] | None = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(file, list(row), restval="")
                    writer.writeheader()
                writer.writerow(row)
    except OSError as error:
        raise InputError(
            f"--out {path} cannot be written: {error.strerror}; give a path in a folder that exists"
        ) from None


def _columns(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _plan(args: argparse.Namespace) -> Result:
    from gridpilot.market.csv_file import read_prices
    from gridpilot.plan.loads import job_needs
    from gridpilot.plan.solve import plan

    site = load_site(args.site)
    history = read_prices(args.prices, site)
    outlook = PriceOutlook(
        history.timestamp,
        history.step_s,
        history.energy_usd_per_mwh,
        history.hash_price,
        history.token_price,
        history.units,
        known=len(history),
        outdoor_c=history.columns.get("outdoor_c", as_array([])),
    )
    first = to_utc(history.timestamp[0])
    needs = job_needs(site, first, float(len(history) * history.step_s), {})
    result = plan(site, SiteState(first, args.soc, jobs=needs), outlook)
    body = report.plan_json(result)
    body["flags"] = to_jsonable(history.flags) + body["flags"]
    return body


def _auction(args: argparse.Namespace) -> Result:
    from dataclasses import replace

    import numpy as np

    from gridpilot.auction.bids import read_bids
    from gridpilot.auction.book import Supply
    from gridpilot.auction.mechanism import clear_book
    from gridpilot.auction.proof import audit

    if args.capacity_kw < 0:
        raise InputError(f"--capacity-kw is {args.capacity_kw:g}: expected 0 or more")
    book, refused = read_bids(args.bids)
    supply = Supply(args.capacity_kw, args.reserve, dict(args.resource), dict(args.cap))
    result = clear_book(book, supply, core=args.core).result()
    body = report.auction_json(replace(result, rejected=(*refused, *result.rejected)))
    if args.audit:
        if len(book) > MOST_AUDITED:
            raise InputError(f"--audit: {len(book)} bids are too many to clear over and over; at most {MOST_AUDITED}")
        body["audit"] = to_jsonable(audit(book.bids(), supply, np.random.default_rng(0), args.audit))
    return body


def _risk(args: argparse.Namespace) -> Result:
    from gridpilot.risk import measures
    from gridpilot.risk.pnl_file import read_pnl

    return report.risk_json(measures.report(read_pnl(args.pnl), args.alpha))


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
        _show(json.dumps(body) if args.json else _pairs_text(body))
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
        body: Result = to_jsonable(prune(ledger, args.keep_days, _now(), args.out))
    return body


# --- for people ------------------------------------------------------------------------------


def _cycle_text(body: Result) -> str:
    plan, dispatch, timings = body["plan"], body["dispatch"], body["timings_ms"]
    machines = ", ".join(f"{n} {name}" for name, n in dispatch["machines"].items())
    lines = [
        f"{body['cycle_id']}  {body['source']} at {body['at']}",
        f"plan      {plan['status']} by {plan['method']}, {plan['objective_usd']:.2f} over the next 24 h",
        f"dispatch  {dispatch['status']}: {machines}; battery {dispatch['battery_kw']:+.0f} kW; "
        f"{dispatch['total_power_kw']:.0f} kW in all",
        f"auction   clears at {body['auction']['clearing_price']:.4f} /kWh",
        f"risk      CVaR {body['risk']['cvar']}  ({body['risk']['status']})",
        "timings   " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in timings.items()),
    ]
    lines += [f"{flag['severity']:<9} {flag['message']}" for flag in body["flags"]]
    return "\n".join(lines)


def _forecast_text(body: Result) -> str:
    rows = zip(body["timestamp"], body["lower_bound"], body["predicted_price"], body["upper_bound"], strict=True)
    return "\n".join(
        [f"{body['method']}: timestamp, 10 %, forecast, 90 %"]
        + [f"{at}  {low:10.2f} {mid:10.2f} {high:10.2f}" for at, low, mid, high in rows]
        + [f"{flag['severity']}: {flag['message']}" for flag in body["flags"]]
    )


def _evaluate_text(body: Result) -> str:
    keys = ("mae", "rmae", "smape", "rmse", "crps", "coverage80", "kendall_tau", "fit_ms", "predict_ms")
    lines = [
        f"{body['n_days']} days; rmae against the seasonal naive",
        "model".ljust(16) + "".join(f"{k:>12}" for k in keys),
    ]
    for name, scores in body["models"].items():
        cells = ("–" if scores[key] is None else f"{scores[key]:.4g}" for key in keys)
        lines.append(name.ljust(16) + "".join(f"{cell:>12}" for cell in cells))
    lines += [f"left out: {name}: {why}" for name, why in body["failed"].items()]
    return "\n".join(lines + [f"{flag['severity']}: {flag['message']}" for flag in body["flags"]])


def _backtest_text(body: Result) -> str:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f} %"

    gap = ", ".join(f"{name} {usd:,.2f}" for name, usd in body["gap_usd"].items())
    lines = [
        f"{body['n_days']} days {body['start']} to {body['end']}, {body['information']}, by {body['forecaster']}",
        f"revenue                {body['revenue_usd']:12,.2f} USD, {share(body['percent_of_perfect'])} of perfect",
        f"perfect foresight      {body['perfect_foresight_usd']:12,.2f} USD",
        f"persistence            {body['persistence_usd']:12,.2f} USD, {share(body['persistence_percent_of_perfect'])}",
        f"cycles                 {body['cycles']:12,.1f}",
        f"missing to perfect     {gap} USD",
    ]
    return "\n".join(lines + [f"{flag['severity']}: {flag['message']}" for flag in body["flags"]])


def _plan_text(body: Result) -> str:
    rows = zip(
        body["timestamp"], body["energy_usd_per_mwh"], body["charge_kw"], body["discharge_kw"], body["soc_frac"],
        body["import_kw"], body["export_kw"], strict=True,
    )  # fmt: skip
    return "\n".join(
        [f"{body['status']} by {body['method']}: {body['objective_usd']:.4f} in {body['solve_ms']:.1f} ms"]
        + ["timestamp, $/MWh, charge, discharge kW, SOC at the end, import, export kW"]
        + [
            f"{at}  {price:8.2f} {up:7.1f} {down:7.1f} {_percent(soc)} {buy:8.1f} {sell:8.1f}"
            for at, price, up, down, soc, buy, sell in rows
        ]
    )


def _percent(fraction: float | None) -> str:
    return "     –" if fraction is None else f"{fraction:6.1%}"


def _auction_text(body: Result) -> str:
    audits = [body["audit"]] if "audit" in body else []
    paid = {p["bidder"]: p["usd_per_h"] for p in body["payments"]}
    return "\n".join(
        [f"{body['method']}: clears at {body['clearing_price']:.6g} $/kWh, welfare {body['welfare']:.6g} $/h"]
        + [
            f"{a['bidder']:<20} {a['service']:<12} {a['kw']:10.2f} kW  pays {paid.get(a['bidder'], 0.0):10.4f} $/h"
            for a in body["allocation"]
        ]
        + [f"refused {r['bidder']}: {r['reason']}" for r in body["rejected"]]
        + [f"audit: {a['tried']} lies tried, best gain {a['best_gain_usd_per_h']:.6g} $/h" for a in audits]
    )


def _export_text(body: Result) -> str:
    return "\n".join(f"{file['rows']:>10,} rows  {file['sha256'][:16]}  {file['file']}" for file in body["files"])


def _pairs_text(body: Result) -> str:
    return "\n".join(f"{name:<24} {value}" for name, value in body.items())
