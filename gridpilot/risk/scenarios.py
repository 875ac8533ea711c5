"""The P&L of a plan's fixed set points over the joint price paths of a forecast."""

from __future__ import annotations

import dataclasses

import numpy as np

from gridpilot.domain import Forecast, Plan, RiskReport, Site, value_usd_per_kwh
from gridpilot.errors import DataError
from gridpilot.risk.measures import drawdowns, report, running_total, value_at_risk
from gridpilot.values import Array


def pnl_paths(plan: Plan, forecast: Forecast, site: Site) -> Array:
    """P&L [$] of each step of the plan on each price path, (S, T).

    P&L = step_h x ((export - import) x energy price / 1000 + sum of load x its value per kWh
                    - wear x (charge + discharge))
    Machines earn by the hash or token path, jobs and tenants their fixed price. Settled steps (the first
    `outlook.known`, and any up to the forecast's origin) have the outlook's price on every path. A hash or
    token price that the forecast does not have (NaN) is the outlook's. The value of energy left in the battery
    at the end is no income and not counted. DataError where the forecast is too short or has another step.
    """
    energy, hashes, tokens = (prices(plan, forecast, price) for price in ("energy", "hash", "token"))
    step_h = plan.outlook.step_h
    money = (plan.export_kw - plan.import_kw) * energy / 1000.0
    machines = {machine.type: machine for machine in site.machines}
    for name, load_kw in plan.loads_kw.items():
        if name in machines:
            money = money + load_kw * value_usd_per_kwh(machines[name], plan.outlook.units, hashes, tokens)
        else:
            money = money + load_kw * _fixed_value(name, site)
    wear = site.battery.wear_usd_per_kwh * (plan.charge_kw + plan.discharge_kw)
    return np.asarray((money - wear) * step_h)


def plan_risk(
    plan: Plan, forecast: Forecast, site: Site, *, alpha: float = 0.95, cap_usd: float | None = None
) -> RiskReport:
    """Risk of the plan's total P&L over its horizon; the sample is one total for each path.

    max_drawdown is the alpha-quantile over the paths of the largest fall of the running P&L (which starts at
    0): with 95 % it falls no further on 19 of 20 paths.
    """
    paths = pnl_paths(plan, forecast, site)
    result = report(paths.sum(axis=1), alpha, cap_usd)
    if result.status != "ok":
        return result
    falls = drawdowns(running_total(paths))
    return dataclasses.replace(result, max_drawdown=value_at_risk(-falls, alpha))


def prices(plan: Plan, forecast: Forecast, price: str) -> Array:
    """One price on the plan's steps: (S, T)."""
    outlook = plan.outlook
    if plan.step_s != forecast.step_s or plan.step_s != outlook.step_s:
        raise DataError(
            f"plan has steps of {plan.step_s} s, its outlook {outlook.step_s} s and the forecast {forecast.step_s} s: "
            "expected equal"
        )
    if not np.array_equal(plan.timestamp, outlook.timestamp):
        raise DataError(f"plan of {len(plan)} steps and its outlook of {len(outlook)} have different times")
    known = {"energy": outlook.energy_usd_per_mwh, "hash": outlook.hash_price, "token": outlook.token_price}[price]
    ahead = (plan.timestamp - forecast.timestamp[0]).astype(np.int64)
    row = ahead // plan.step_s
    settled = (row < 0) | (np.arange(len(plan)) < outlook.known)
    if np.any(ahead % plan.step_s) or np.any(row[~settled] >= len(forecast)):
        raise DataError(
            f"plan runs {plan.timestamp[0]} to {plan.timestamp[-1]} and the forecast covers {forecast.timestamp[0]} "
            f"to {forecast.timestamp[-1]}: forecast every step of the plan"
        )
    path = forecast.paths[price][:, np.clip(row, 0, len(forecast) - 1)]
    return np.where(settled | np.isnan(path), known, path)


def _fixed_value(name: str, site: Site) -> float:
    """$/kWh of a job or tenant; one run of a job may carry a suffix after the job's name."""
    for tenant in site.tenants:
        if tenant.name == name:
            return tenant.price_usd_per_kwh
    runs = [job for job in site.jobs if name.startswith(job.name)]
    if not runs:
        raise DataError(f"load {name!r} of the plan is no machine, job or tenant of site {site.name}")
    return max(runs, key=lambda job: len(job.name)).value_usd_per_kwh
