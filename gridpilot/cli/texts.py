"""Results for people: lines in place of JSON."""

from __future__ import annotations

from gridpilot.cli.options import Result
from gridpilot.foreign import line, marked


def visible(text: str) -> str:
    """Lines for a terminal: what cannot be seen, or would steer it, becomes a mark. Names went through `line`."""
    return "\n".join(marked(row) for row in text.split("\n"))


def cycle(body: Result) -> str:
    """A decision."""
    plan, dispatch, timings = body["plan"], body["dispatch"], body["timings_ms"]
    machines = ", ".join(f"{n} {line(name)}" for name, n in dispatch["machines"].items())
    lines = [
        f"{body['cycle_id']}  {body['source']} at {body['at']}",
        f"plan      {plan['status']} by {plan['method']}, {plan['objective_usd']:.2f} over the next 24 h",
        f"dispatch  {dispatch['status']}: {machines}; battery {dispatch['battery_kw']:+.0f} kW; "
        f"{dispatch['total_power_kw']:.0f} kW in all",
        f"auction   clears at {body['auction']['clearing_price']:.4f} /kWh",
        f"risk      CVaR {body['risk']['cvar']}  ({body['risk']['status']})",
        "timings   " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in timings.items()),
    ]
    lines += [f"{flag['severity']:<9} {line(flag['message'])}" for flag in body["flags"]]
    return "\n".join(lines)


def forecast(body: Result) -> str:
    """Bands, a line each step."""
    rows = zip(body["timestamp"], body["lower_bound"], body["predicted_price"], body["upper_bound"], strict=True)
    return "\n".join(
        [f"{body['method']}: timestamp, 10 %, forecast, 90 %"]
        + [f"{at}  {low:10.2f} {mid:10.2f} {high:10.2f}" for at, low, mid, high in rows]
        + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]]
    )


def evaluate(body: Result) -> str:
    """A table of scores."""
    keys = ("mae", "rmae", "smape", "rmse", "crps", "coverage80", "kendall_tau", "fit_ms", "predict_ms")
    lines = [
        f"{body['n_days']} days; rmae against the seasonal naive",
        "model".ljust(16) + "".join(f"{k:>12}" for k in keys),
    ]
    for name, scores in body["models"].items():
        cells = ("–" if scores[key] is None else f"{scores[key]:.4g}" for key in keys)
        lines.append(name.ljust(16) + "".join(f"{cell:>12}" for cell in cells))
    lines += [f"left out: {name}: {line(why)}" for name, why in body["failed"].items()]
    return "\n".join(lines + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]])


def backtest(body: Result) -> str:
    """Money, and where the rest went."""

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
    return "\n".join(lines + [f"{flag['severity']}: {line(flag['message'])}" for flag in body["flags"]])


def plan(body: Result) -> str:
    """Set points, a line each step."""
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


def auction(body: Result) -> str:
    """Who gets what and pays what."""
    audits = [body["audit"]] if "audit" in body else []
    paid = {p["bidder"]: p["usd_per_h"] for p in body["payments"]}
    return "\n".join(
        [f"{body['method']}: clears at {body['clearing_price']:.6g} $/kWh, welfare {body['welfare']:.6g} $/h"]
        + [
            f"{line(a['bidder']):<20} {line(a['service']):<12} {a['kw']:10.2f} kW  "
            f"pays {paid.get(a['bidder'], 0.0):10.4f} $/h"
            for a in body["allocation"]
        ]
        + [f"refused {line(r['bidder'])}: {line(r['reason'])}" for r in body["rejected"]]
        + [f"audit: {a['tried']} lies tried, best gain {a['best_gain_usd_per_h']:.6g} $/h" for a in audits]
    )


def export(body: Result) -> str:
    """The files."""
    return "\n".join(f"{file['rows']:>10,} rows  {file['sha256'][:16]}  {file['file']}" for file in body["files"])


def pairs(body: Result) -> str:
    """Names and values."""
    return "\n".join(f"{name:<24} {line(str(value))}" for name, value in body.items())


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
        lines += [f"{name:<16} {audit[name]}" for name in ("baseline_kw", "target_kw", "mean_kw", "highest_kw")]
        lines += [f"{name:<16} {audit[name]}" for name in ("reached_s", "delivered_frac", "reduced_kwh", "kept")]
    return "\n".join(lines)


def fleet(body: Result) -> str:
    """A line a site, what would have been cheaper elsewhere, and why a site has no numbers."""
    span = f"P&L {body['hours']:g} h"
    money = f"{'margin /h':>12}{span:>12}"
    lines = [f"{'site':<18}{'decided':<19}{'price':>18}{money}{'load':>12}{'SOC':>7}{'alarms':>8}  age"]
    for row in body["sites"]:
        if row["at"] is None:
            lines.append(f"{line(row['name']):<18}{line(row['trouble'])}")
            continue
        soc = "–" if row["soc_frac"] is None else f"{row['soc_frac']:.0%}"
        pnl = "–" if row["pnl"] is None else f"{row['pnl']:.2f}"
        price = f"{row['price']:.2f} {line(row['price_unit'])}"
        lines.append(
            f"{line(row['name']):<18}{row['at'][:16] + 'Z':<19}{price:>18}{row['margin_per_h']:>12.2f}{pnl:>12}"
            f"{row['load_kw']:>9.0f} kW{soc:>7}{row['alarms']:>8}  {row['age_s']:.0f} s"
        )
    for move in body["moves"]:
        lines.append(
            f"inference from {line(move['origin'])} to {line(move['target'])} would have saved "
            f"{move['usd_per_h']:.2f} USD/h ({move['frees_kw']:.0f} kW there, {move['takes_kw']:.0f} kW here): "
            "a suggestion, not sent"
        )
    return "\n".join(lines)
