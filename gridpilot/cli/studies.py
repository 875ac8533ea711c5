"""Commands that read files (and one that decides): cycle, forecast, evaluate, backtest, plan, auction, risk."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from gridpilot import ending, report
from gridpilot.cli import options, texts
from gridpilot.cli.options import Command, Result
from gridpilot.config import DATA, Settings, load_settings, load_site
from gridpilot.domain import DataFlag, PriceHistory, PriceOutlook, Site, SiteState
from gridpilot.errors import MODEL_ERRORS, DataError, InputError, SourceError
from gridpilot.foreign import shown
from gridpilot.values import as_array, to_jsonable, to_utc

BRIDGE_S = 3 * 86_400  # gaps in a file of past prices that a forecast fills rather than cutting the past off
PRICES_FORMAT = """\
F.csv: a header and a row for each interval, UTF-8:
    timestamp,energy_price[,hash_price,token_price][,more columns]
timestamp is ISO 8601 in UTC at interval start (2024-06-24T15:00:00Z), energy_price in USD/MWh.
What hash_price and token_price mean is said by [prices] of the site file (docs/site.md)."""
BIDS_FORMAT = """\
F.csv: a header and a row for each block of a bidder's demand, UTF-8:
    bidder,service,kw,price_usd_per_kwh[,divisible,min_kw,house,uses_RESOURCE,...]
    acme,inference,120,0.30,true
kw is the most that the block takes, price_usd_per_kwh what a kWh is worth to it; divisible is true
(default) or false, all or nothing; below min_kw it is of no use; house is true for the site's own
alternatives; uses_RESOURCE is what a kW of it takes of another resource."""
PNL_FORMAT = """\
F.csv: a header and one value a line, in USD, a gain positive; the order counts for the drawdown:
    pnl_usd
    120.50
    -35.00"""
MOST_NAMED = 10  # names that a message lists
MOST_AUDITED = 5000  # bids that are cleared once for each lie that is tried


def add(command: Command) -> None:
    """Add them to the command line."""
    sub = command("cycle", _cycle, "one decision cycle", texts.cycle)
    sub.epilog = "Into a ledger that other prices have filled, a cycle is a switch of market: a warning says so."
    sub.add_argument(
        "--source", metavar="S", help="as GRIDPILOT_SOURCE (its default): replay, csv:PATH, energy-charts:DE-LU, ..."
    )
    sub.add_argument("--dry-run", action="store_true", help="decide, but write and send nothing")
    sub.set_defaults(done=_decided)

    sub = command("forecast", _forecast, "forecast the prices after the last row of a file", texts.forecast)
    _price_options(sub)
    sub.add_argument("--horizon", type=options.count, default=24, metavar="N", help="steps ahead (default: 24)")
    sub.add_argument("--quick", action="store_true", help="do not fit the ensemble, which takes up to a minute")

    sub = command("evaluate", _evaluate, "rolling-origin evaluation of forecasters, day-ahead", texts.evaluate)
    _price_options(sub)
    sub.add_argument("--start", type=options.day, required=True, metavar="D", help="first day, as 2024-01-01")
    sub.add_argument("--end", type=options.day, required=True, metavar="D", help="last day")
    sub.add_argument(
        "--models", metavar="A,B", help="models to compare (default: the ensemble); the naives always join"
    )
    sub.add_argument("--timezone", default="UTC", metavar="ZONE", help="whose days are forecast (default: UTC)")
    sub.add_argument("--out", type=options.file, metavar="F.csv", help="write every forecast")

    sub = command("backtest", _backtest, "trade a price history with nothing known before its time", texts.backtest)
    _backtest_options(sub)

    sub = command("plan", _plan, "the optimal plan for the prices of a file", texts.plan)
    sub.epilog = PRICES_FORMAT
    sub.add_argument(
        "--prices",
        type=options.file,
        required=True,
        metavar="F.csv",
        help="the price of each interval of the plan (required)",
    )
    sub.add_argument(
        "--site",
        type=options.file,
        default=DATA / "site-default.toml",
        metavar="SITE.toml",
        help="site file, see docs/site.md (default: the built-in site)",
    )
    sub.add_argument(
        "--soc", type=options.fraction, required=True, metavar="X", help="state of charge at the start, 0..1 (required)"
    )

    sub = command("auction", _auction, "clear one auction", texts.auction)
    _auction_options(sub)

    sub = command("risk", _risk, "risk measures of a P&L sample", texts.risk)
    _risk_options(sub)


def _risk_options(sub: argparse.ArgumentParser) -> None:
    sub.epilog = PNL_FORMAT
    sub.add_argument("--pnl", type=options.file, required=True, metavar="F.csv", help="the sample (required)")
    sub.add_argument(
        "--alpha",
        type=options.alpha,
        default=0.95,
        metavar="A",
        help="confidence, from 0.5 up to 1: the worst 1 - A of the values are the tail (default: 0.95)",
    )


def _price_options(sub: argparse.ArgumentParser, recorded: bool = False) -> None:
    told = "default: what the ledger has recorded" if recorded else "required"
    sub.epilog = PRICES_FORMAT
    sub.add_argument(
        "--prices", type=options.file, required=not recorded, metavar="F.csv", help=f"past prices ({told})"
    )
    sub.add_argument(
        "--target", type=options.name, metavar="COL", help="the column to forecast (default: energy_price)"
    )
    sub.add_argument("--exog", metavar="COL,..", help="exogenous columns, known a day ahead")
    sub.add_argument("--country", metavar="CC", help="public holidays of this country as a feature, as NL")


def _auction_options(sub: argparse.ArgumentParser) -> None:
    sub.epilog = BIDS_FORMAT
    sub.add_argument("--bids", type=options.file, required=True, metavar="F.csv", help="the bids (required)")
    sub.add_argument(
        "--capacity-kw", type=options.number, required=True, metavar="KW", help="power that is for sale (required)"
    )
    sub.add_argument(
        "--reserve",
        type=options.number,
        default=0.0,
        metavar="P",
        help="none is sold below it, USD/kWh (default: 0)",
    )
    for name, metavar, told in (
        ("--resource", "NAME=X", "capacity of another resource that bids use"),
        ("--cap", "SERVICE=KW", "the most that a service gets"),
    ):
        sub.add_argument(name, type=options.amount, action="append", default=[], metavar=metavar, help=told)
    sub.add_argument("--core", action="store_true", help="core-selecting payments: not truthful, see docs/auction.md")
    sub.add_argument("--audit", type=options.count, metavar="N", help="try N misreports and tell the best gain of one")


def _backtest_options(sub: argparse.ArgumentParser) -> None:
    _price_options(sub, recorded=True)
    sub.add_argument(
        "--site", type=options.file, metavar="SITE.toml", help="default: the recorded or the built-in site"
    )
    sub.add_argument("--days", type=options.count, metavar="N", help="the newest N whole days, in place of --start")
    sub.add_argument(
        "--start", type=options.day, metavar="D", help="first day (default: the first that can be forecast)"
    )
    sub.add_argument("--end", type=options.day, metavar="D", help="last day (default: the last whole one)")
    sub.add_argument("--forecaster", default="ensemble", metavar="M", help="default: ensemble")
    sub.add_argument(
        "--information", default="blind", metavar="I", help="blind, published or realtime (default: blind)"
    )
    sub.add_argument(
        "--profiles",
        type=options.count,
        default=24,
        metavar="N",
        help="blind: day profiles to choose from (default: 24; 1: none)",
    )
    sub.add_argument("--out", type=options.file, metavar="F.csv", help="write every step")
    sub.add_argument(
        "--progress", type=options.file, metavar="F", help="write how far it is; ends when its parent ends"
    )


# --- commands --------------------------------------------------------------------------------


def _settings(args: argparse.Namespace) -> Settings:
    settings = load_settings()
    source = getattr(args, "source", None)
    return settings.model_copy(update={"source": source}) if source else settings


def _cycle(args: argparse.Namespace) -> Result:
    from gridpilot.ledger.store import Ledger
    from gridpilot.market.source import own_file
    from gridpilot.monitor import market
    from gridpilot.pilot import one_cycle

    settings = _settings(args)
    with Ledger.open(settings.database_url()) as ledger:
        before = market.load(ledger)
    try:
        result = one_cycle(settings, datetime.now(UTC), dry_run=args.dry_run)
    except DataError as error:  # what a server says is no input of a person's
        raise error if own_file(settings.source) else SourceError(str(error)) from None
    args.text = partial(texts.cycle, units=result.units)
    body = result.to_json()
    if before is not None and before.source != result.source:
        said = (
            f"this ledger is of {before.source} prices, and this decision on {result.source} prices goes on from what "
            "ran there (charge, jobs, P&L): to keep the two apart, give each a ledger of its own by GRIDPILOT_DB_URL"
        )
        body["flags"] = [to_jsonable(DataFlag("SWITCHED", said, "warn")), *body["flags"]]
    return body


def _decided(result: Result) -> str:
    """What is on record, where it cannot be shown."""
    if result["dispatch"]["status"] == "dry-run":
        return ""
    return f". The decision {result['cycle_id']} is on record all the same"


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
    if args.days and args.start:
        raise InputError("--days and --start both say where it begins: give one of them")
    with _progress(args.progress) as told:
        told("starting", 0.0)  # before the imports, which take seconds
        return _backtested(args, told)


def _backtested(args: argparse.Namespace, told: Callable[[str, float], None]) -> Result:
    from dataclasses import replace

    from gridpilot.backtest import Terms, backtest, default_days
    from gridpilot.forecast.days import longest_day
    from gridpilot.forecast.ensemble import prepare
    from gridpilot.forecast.registry import named

    names = named(args.forecaster)
    if len(names) != 1:
        raise InputError(f"--forecaster is {args.forecaster!r}: expected one name")
    terms = Terms(names[0], args.information, args.profiles)
    told("reading prices", 0.0)
    site, history = _traded(args)
    country = args.country or site.country or None
    series = prepare(history, site.timezone, exog=_columns(args.exog), country=country).clock
    if series.exog.shape[1]:
        series = replace(series, exog=series.exog[: len(series)], known_ahead=longest_day(series.step_s))
    first, last = default_days(series, terms.forecaster)
    end = args.end or last
    start = args.start or (end - timedelta(days=args.days - 1) if args.days else first)
    told(f"forecast by {terms.forecaster}", 0.0)
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

    if file is not None:
        ending.end_with(ending.keeper() or os.getppid())
    with tqdm(total=1.0, disable=None, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}") as bar:

        def told(name: str, share: float) -> None:
            bar.set_description_str(name, refresh=False)
            bar.n = share
            bar.refresh()
            if file is not None:
                file.write_text(f"{share:.4f} {name}\n")

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

    from gridpilot.auction.bids import listed, read_bids
    from gridpilot.auction.book import Supply
    from gridpilot.auction.mechanism import clear_book
    from gridpilot.auction.proof import audit

    if args.capacity_kw < 0:
        raise InputError(f"--capacity-kw is {args.capacity_kw:g}: expected 0 or more")
    book, refused = read_bids(args.bids)
    others, caps = options.by_name("--resource", args.resource), options.by_name("--cap", args.cap)
    supply = Supply(args.capacity_kw, args.reserve, others, caps)
    used = {name for k, name in enumerate(book.resources) if (book.uses[:, k] > 0.0).any()}
    _check_names("--resource", others, used, "no good bid uses it; what is used")
    _check_names("--cap", caps, book.services, "no good bid is for it; services")
    result = clear_book(book, supply, core=args.core).result()
    body = report.auction_json(replace(result, rejected=listed(refused, result.rejected)))
    if args.audit:
        if len(book) > MOST_AUDITED:
            raise InputError(f"--audit: {len(book)} bids are too many to clear over and over; at most {MOST_AUDITED}")
        body["audit"] = to_jsonable(audit(book.bids(), supply, np.random.default_rng(0), args.audit, core=args.core))
    return body


def _check_names(option: str, given: Iterable[str], known: Collection[str], said: str) -> None:
    """A name that is nowhere in the bids is a slip."""
    for name in given:
        if name not in known:
            there = ", ".join(shown(other, 40) for other in sorted(known)[:MOST_NAMED]) or "none"
            raise InputError(f"{option} {name!r}: {said}: {there}")


def _risk(args: argparse.Namespace) -> Result:
    from gridpilot.risk import measures
    from gridpilot.risk.pnl_file import read_pnl

    return report.risk_json(measures.report(read_pnl(args.pnl), args.alpha))
