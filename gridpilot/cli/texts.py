"""Results for people: lines in place of JSON, in the console's units and no more digits than anyone reads."""

from __future__ import annotations

from gridpilot.cli.options import Result
from gridpilot.domain import Units
from gridpilot.foreign import line, marked

DOLLARS = Units()  # of prices and bids in files


def visible(text: str) -> str:
    """Lines for a terminal: what cannot be seen, or would steer it, becomes a mark. Names went through `line`."""
    return "\n".join(marked(row) for row in text.split("\n"))


def money(value: float | None, unit: str = "USD") -> str:
    """Whole ones from a thousand on, else cents."""
    if value is None:
        return "not known"
    return f"{value:,.0f} {unit}" if abs(value) >= 1000.0 else f"{value:,.2f} {unit}"


def power_price(usd_per_kwh: float, units: Units = DOLLARS) -> str:
    """What site power costs, in the unit of the energy price."""
    return f"{1000.0 * usd_per_kwh / units.energy_usd_per_mwh:,.2f} {units.energy}"


def cycle(body: Result, units: Units = DOLLARS) -> str:
    """A decision, in the units of its price source."""
    plan, dispatch, risk, timings = body["plan"], body["dispatch"], body["risk"], body["timings_ms"]
    cvar = money(risk["cvar"], units.money)
    machines = ", ".join(f"{n} {line(name)}" for name, n in dispatch["machines"].items())
    hours = len(plan["timestamp"]) * plan["step_s"] / 3600.0
    lines = [
        f"{body['cycle_id']}  {body['source']} at {body['at']}",
        f"plan      {plan['status']} by {plan['method']}: {money(plan['objective_usd'], units.money)} over {hours:g} h",
        f"dispatch  {dispatch['status']}: {machines}; battery {dispatch['battery_kw']:+,.0f} kW (charging +); "
        f"{dispatch['total_power_kw']:,.0f} kW in all",
        f"auction   clears at {power_price(body['auction']['clearing_price'], units)}",
        f"risk      CVaR {risk['alpha']:.4g}: {cvar} ({risk['status']}); a loss is positive",
        "timings   " + ", ".join(f"{name} {ms:,.0f} ms" for name, ms in timings.items()),
    ]
    lines += [f"{flag['severity']:<9} {line(flag['message'])}" for flag in body["flags"]]
    return "\n".join(lines)


def risk(body: Result) -> str:
    """Measures of a sample."""
    rows = (
        (f"VaR {body['alpha']:.4g}", money(body["var"])),
        (f"CVaR {body['alpha']:.4g}", money(body["cvar"])),
        ("largest drawdown", money(body["max_drawdown"])),
        ("average drawdown", money(body["average_drawdown"])),
        (f"CDaR {body['alpha']:.4g}", money(body["cdar"])),
        ("mean", money(body["expected"])),
        ("standard deviation", money(body["volatility"])),
        ("risk adjustment factor", f"{body['risk_adjustment_factor']:.3g}"),
    )
    told = f"{body['n']:,} values, {line(body['status'])}; VaR, CVaR and drawdowns are losses: positive is money lost"
    return "\n".join([told, *(f"{name:<24}{value:>16}" for name, value in rows)])


def verified(body: Result) -> str:
    """The verdict on a chain."""
    head = body["head"]
    if body["ok"] and not body["n"]:
        return "ok: no entries yet"
    lines = [
        f"ok: {body['n']:,} entries, numbers {body['start']:,} to {head['seq']:,}"
        if body["ok"]
        else f"NOT ok at entry {body['first_bad']:,}: {line(body['reason'])}",
        f"newest    {head['hash']}",
    ]
    return "\n".join(lines)


def pruned(body: Result) -> str:
    """What went where."""
    if not body["removed"]:
        return line(body["note"]) or "nothing to remove"
    lines = [
        f"{body['removed']:,} entries, numbers {body['first']:,} to {body['last']:,}, are now in {line(body['file'])}",
        f"sha256    {body['sha256']}",
    ]
    return "\n".join([*lines, *([line(body["note"])] if body["note"] else [])])


def faults(body: Result) -> str:
    """What is wrong with the simulated site from now on."""
    from gridpilot.dispatch.simulator import NOMINAL_HZ

    said = [
        *(f"{count:,} {line(name)} stand still" for name, count in body["failed"].items()),
        *(f"{count:,} {line(name)} do not obey" for name, count in body["stuck"].items()),
    ]
    if body["heat_c"]:
        said.append(f"the hottest machine is {body['heat_c']:g} C hotter")
    if body["cooling_frac"] < 1.0:
        said.append(f"{body['cooling_frac']:.0%} of the cooling works")
    if body["soc_lost"]:
        said.append("the battery's sensor is lost")
    elif body["soc_frac"] is not None:
        said.append(f"the battery's sensor says {body['soc_frac']:.1%}")
    if body["frequency_hz"] != NOMINAL_HZ:
        said.append(f"the grid runs at {body['frequency_hz']:g} Hz")
    if body["import_kw"] is not None:
        said.append(f"the site says that its connection may draw {body['import_kw']:,.0f} kW at the most")
    return f"from now on: {'; '.join(said) or 'no faults'}"


def forecast(body: Result) -> str:
    """Bands, a line each step."""
    rows = zip(body["timestamp"], body["lower_bound"], body["predicted_price"], body["upper_bound"], strict=True)
    return "\n".join(
        [f"{body['method']}: timestamp, 10 %, forecast, 90 %"]
        + [f"{at}  {low:10,.2f} {mid:10,.2f} {high:10,.2f}" for at, low, mid, high in rows]
        + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]]
    )


def evaluate(body: Result) -> str:
    """A table of scores."""
    keys = ("mae", "rmae", "smape", "rmse", "crps", "coverage80", "kendall_tau", "fit_ms", "predict_ms")
    lines = [
        f"{_days(body)}; rmae against the seasonal naive",
        "model".ljust(16) + "".join(f"{k:>12}" for k in keys),
    ]
    for name, scores in body["models"].items():
        cells = ("–" if scores[key] is None else f"{scores[key]:.4g}" for key in keys)
        lines.append(name.ljust(16) + "".join(f"{cell:>12}" for cell in cells))
    lines += [f"left out: {name}: {line(why)}" for name, why in body["failed"].items()]
    return "\n".join(lines + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]])


def _days(body: Result) -> str:
    return "1 day" if body["n_days"] == 1 else f"{body['n_days']:,} days"


def backtest(body: Result) -> str:
    """Money, and where the rest went."""
    from gridpilot.report import GAP_PARTS

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f} %"

    gap = ", ".join(f"{GAP_PARTS[name]} {usd:,.2f}" for name, usd in body["gap_usd"].items())
    lines = [
        f"{_days(body)} {body['start']} to {body['end']}, {body['information']}, by {body['forecaster']}",
        f"revenue                {body['revenue_usd']:12,.2f} USD, {share(body['percent_of_perfect'])} of perfect",
        f"perfect foresight      {body['perfect_foresight_usd']:12,.2f} USD",
        f"persistence            {body['persistence_usd']:12,.2f} USD, {share(body['persistence_percent_of_perfect'])}",
        f"battery alone          {share(body['percent_of_added'])} of what perfect foresight adds to one at rest",
        f"cycles                 {body['cycles']:12,.1f}",
        f"missing to perfect     {gap} USD",
    ]
    return "\n".join(lines + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]])


def plan(body: Result) -> str:
    """Set points, a line each step."""
    rows = zip(
        body["timestamp"], body["energy_usd_per_mwh"], body["charge_kw"], body["discharge_kw"], body["soc_frac"],
        body["import_kw"], body["export_kw"], strict=True,
    )  # fmt: skip
    span = f"{len(body['timestamp']):,} steps of {body['step_s']:,} s"
    heads = ("USD/MWh", "charge", "disch.", "SOC end", "import", "export")
    return "\n".join(
        [
            f"{body['status']} by {body['method']}: {money(body['objective_usd'])} over {span}, "
            f"solved in {body['solve_ms']:,.0f} ms",
            "start of the step   " + "".join(f"{name:>9}" for name in heads) + "  (powers in kW)",
        ]
        + [
            f"{at:<20}{price:9,.2f}{up:9,.1f}{down:9,.1f}{_percent(soc)}{buy:9,.1f}{sell:9,.1f}"
            for at, price, up, down, soc, buy, sell in rows
        ]
        + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]]
    )


def _percent(fraction: float | None) -> str:
    return "–".rjust(9) if fraction is None else f"{100.0 * fraction:7.1f} %"


def auction(body: Result) -> str:
    """Who gets what and pays what: a bidder's payment, for all that it gets, stands in its first line."""
    audits = [body["audit"]] if "audit" in body else []
    paid = {p["bidder"]: p["usd_per_h"] for p in body["payments"]}
    return "\n".join(
        [f"{body['method']}: clears at {power_price(body['clearing_price'])}, welfare {body['welfare']:,.2f} USD/h"]
        + [
            f"{line(a['bidder']):<20} {line(a['service']):<12} {a['kw']:10,.2f} kW  "
            + (f"pays {paid.pop(a['bidder']):10,.4f} USD/h" if a["bidder"] in paid else "").rstrip()
            for a in body["allocation"]
        ]
        + [f"refused {line(r['bidder'])}: {line(r['reason'])}" for r in body["rejected"]]
        + [f"audit: {a['tried']} lies tried, best gain {a['best_gain_usd_per_h']:.6g} USD/h" for a in audits]
    )


def export(body: Result) -> str:
    """The files."""
    return "\n".join(f"{file['rows']:>10,} rows  {file['sha256'][:16]}  {file['file']}" for file in body["files"])


def replay(body: Result) -> str:
    """Whether it is the same, and what is not."""
    verdict = "the same" if body["same"] else "NOT the same"
    lines = [f"{body['cycle_id']}: {verdict}, {body['compared']:,} values compared"]
    lines += [line(f"{where}: {old} was recorded, {new} now") for where, old, new in body["differences"]]
    lines += [f"{name}: {both} (then, now)" for name, both in body["versions"].items()]
    return "\n".join(lines)


def curtail(body: Result) -> str:
    """An event, and what was metered of it."""
    event, audit = body["event"], body["audit"]
    asked = f"{event['percent']:g} % less" if event["import_kw"] is None else f"at most {event['import_kw']:g} kW"
    lines = [f"{event['id']}: {asked} from {event['start']} to {event['end']}, {event['status']}"]
    if audit is not None:
        lines += [f"{told:<24}{_audited(audit[name], unit):>12}" for name, told, unit in AUDITED]
        lines.append(f"{'kept':<24}{'yes' if audit['kept'] else 'no':>12}")
    return "\n".join(lines)


AUDITED = (
    ("baseline_kw", "baseline", "kW"),
    ("target_kw", "target", "kW"),
    ("mean_kw", "mean import", "kW"),
    ("highest_kw", "highest import", "kW"),
    ("reached_s", "target reached after", "s"),
    ("delivered_frac", "delivered of promised", "%"),
    ("reduced_kwh", "energy not drawn", "kWh"),
)


def _audited(value: float | None, unit: str) -> str:
    """A metered figure; JSON has null where nothing was metered."""
    if value is None:
        return "not known"
    return f"{value:.0%}".replace("%", " %") if unit == "%" else f"{value:,.0f} {unit}"


def fleet(body: Result) -> str:
    """A line a site, what would have been cheaper elsewhere, and why a site has no numbers."""
    span = f"P&L {body['hours']:g} h"
    money = f"{'margin /h':>12}{span:>12}"
    wide = max([16, *(len(line(row["name"])) for row in body["sites"])]) + 2
    lines = [f"{'site':<{wide}}{'decided':<19}{'price':>18}{money}{'load':>12}{'SOC':>7}{'alarms':>8}  age"]
    for row in body["sites"]:
        if row["at"] is None:
            lines.append(f"{line(row['name']):<{wide}}{line(row['trouble'])}")
            continue
        soc = "–" if row["soc_frac"] is None else f"{row['soc_frac']:.0%}"
        pnl = "–" if row["pnl"] is None else f"{row['pnl']:.2f}"
        price = f"{row['price']:.2f} {line(row['price_unit'])}"
        still = row["margin_per_h"] is None  # nothing of the decision is carried out
        margin = row["control"] if still else f"{row['margin_per_h']:.2f}"
        load = "–" if still else f"{row['load_kw']:.0f} kW"
        lines.append(
            f"{line(row['name']):<{wide}}{row['at'][:16] + 'Z':<19}{price:>18}{margin:>12}{pnl:>12}"
            f"{load:>12}{soc:>7}{row['alarms']:>8}  {row['age_s']:.0f} s"
            + ("" if row["pilot"] else ", no pilot at work")
        )
    for move in body["moves"]:
        lines.append(
            f"inference from {line(move['origin'])} to {line(move['target'])} would have saved "
            f"{move['usd_per_h']:.2f} USD/h ({move['frees_kw']:.0f} kW there, {move['takes_kw']:.0f} kW here): "
            "a suggestion, not sent"
        )
    return "\n".join(lines)
