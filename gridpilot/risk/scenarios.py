"""The P&L of a plan's fixed set points over the joint price paths of a forecast."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from gridpilot.domain import Forecast, Plan, RiskReport, Site, SiteState, value_usd_per_kwh
from gridpilot.domain.check import require
from gridpilot.errors import DataError
from gridpilot.plan.loads import site_loads
from gridpilot.risk.measures import average_drawdown, cdar, report, running_total, value_at_risk, worst_falls
from gridpilot.values import Array, as_array

FAN = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of the money made so far that are recorded


@dataclass(frozen=True, slots=True)
class Futures:
    """S equally likely joint courses of prices over the T steps of a plan, (S, T) each: energy in $/MWh, hash and token
    in the source's unit. `label` says what they come from."""

    energy: Array
    hash: Array
    token: Array
    label: str = "forecast errors of past days"

    def __post_init__(self) -> None:
        shape = self.energy.shape
        even = len(shape) == 2 and self.hash.shape == shape and self.token.shape == shape
        seen = f"{shape}, {self.hash.shape} and {self.token.shape}"
        require(even, f"courses of energy, hash and token price are {seen}: expected one shape (S, T)")

    def __len__(self) -> int:
        return len(self.energy)


def pnl_paths(plan: Plan, forecast: Forecast, site: Site) -> Array:
    """P&L [$] of each step of the plan on each of the forecast's joint price paths, (S, T); see `money`.

    Settled steps (the first `outlook.known`, and any up to the forecast's origin) have the outlook's price on every
    path. A hash or token price that the forecast does not have (NaN) is the outlook's. DataError where the forecast is
    too short or has another step.
    """
    return money(plan, site, forecast_futures(plan, forecast))


def money(plan: Plan, site: Site, futures: Futures) -> Array:
    """P&L [$] of each step of the plan on courses of prices, (S, T).

    P&L = step_h x ((export - import) x energy price / 1000 + sum of load x its value per kWh
                    - wear x (charge + discharge))
    Machines earn by the hash or token price, jobs and tenants their fixed price. The value of energy left in the
    battery at the end is no income and not counted.
    """
    h, units, n = plan.outlook.step_h, plan.outlook.units, len(plan)
    sure = -site.battery.wear_usd_per_kwh * (plan.charge_kw + plan.discharge_kw)
    by_hash, by_token, one = np.zeros(n), np.zeros(n), np.ones(1)
    machines = {machine.type: machine for machine in site.machines}
    for name, load_kw in plan.loads_kw.items():
        if name not in machines:
            sure = sure + load_kw * _fixed_value(name, site)
        elif machines[name].product == "hash":
            by_hash += load_kw * value_usd_per_kwh(machines[name], units, one, one)
        else:
            by_token += load_kw * value_usd_per_kwh(machines[name], units, one, one)
    out = futures.energy * (h * (plan.export_kw - plan.import_kw) / 1000.0)
    out += h * sure
    for price, kw_worth in ((futures.hash, by_hash), (futures.token, by_token)):
        if np.any(kw_worth):
            out += (h * kw_worth) * (np.nan_to_num(price) if np.isnan(price).any() else price)
    return np.asarray(out)


def full_use(plan: Plan, site: Site, state: SiteState) -> dict[str, Array]:
    """IT power (T,) of every load of the site if it ran all the time that it could; a job as planned."""
    loads = site_loads(site, state, plan.outlook, as_array(_cooling(plan, site)))
    jobs = {job.name for job in site.jobs}
    out: dict[str, Array] = {}
    for load in loads:
        place = load.place
        most = plan.loads_kw.get(place, np.zeros(len(plan))) if place in jobs else load.max_kw
        out[place] = out[place] + most if place in out and place not in jobs else np.asarray(most)
    return out


def full_usd(plan: Plan, site: Site, state: SiteState, futures: Futures) -> dict[str, Array]:
    """What each load would bring over the plan at full use, energy and cooling paid, on courses of prices: (S,) [$].

    The battery, which trades as planned, is among them where the site has one.
    """
    gross, h = 1.0 + _cooling(plan, site), plan.outlook.step_h
    out = {}
    for name, kw in full_use(plan, site, state).items():
        worth = _value(name, plan, site, futures)
        out[name] = np.asarray(h * ((kw * worth) - kw * gross * futures.energy / 1000.0).sum(axis=1))
    if site.battery.capacity_kwh > 0.0:
        moved = plan.charge_kw - plan.discharge_kw
        wear = site.battery.wear_usd_per_kwh * (plan.charge_kw + plan.discharge_kw)
        out["battery"] = np.asarray(h * (-moved * futures.energy / 1000.0 - wear).sum(axis=1))
    return out


def plan_risk(
    plan: Plan,
    forecast: Forecast,
    site: Site,
    *,
    alpha: float = 0.95,
    cap_usd: float | None = None,
    state: SiteState | None = None,
) -> RiskReport:
    """Risk of the plan's total P&L over its horizon; the sample is one total for each path.

    max_drawdown is the alpha-quantile over the paths of the largest fall of the running P&L (which starts at
    0): with 95 % it falls no further on 19 of 20 paths. average_drawdown and cdar count all steps of all paths. With
    the `state` that the plan starts from, the report has what each load would bring at full use too.
    """
    futures = forecast_futures(plan, forecast)
    paths = money(plan, site, futures)
    result = report(paths.sum(axis=1), alpha, cap_usd)
    if result.status != "ok":
        return result
    level = running_total(paths)
    return dataclasses.replace(
        result,
        max_drawdown=value_at_risk(-worst_falls(paths), alpha),
        average_drawdown=average_drawdown(paths),
        cdar=cdar(paths, alpha),
        fan_usd=dict(zip(FAN, np.quantile(level[:, 1:], FAN, axis=0), strict=True)),
        full_usd={} if state is None else full_usd(plan, site, state, futures),
    )


def forecast_futures(plan: Plan, forecast: Forecast) -> Futures:
    """The forecast's joint price paths on the plan's steps."""
    return Futures(prices(plan, forecast, "energy"), prices(plan, forecast, "hash"), prices(plan, forecast, "token"))


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


def _cooling(plan: Plan, site: Site) -> Array:
    """Cooling kW for each kW of load in each step (T,), by the outdoor temperature where it is known."""
    outdoor, cooling = plan.outlook.outdoor_c, site.cooling
    if not len(outdoor):
        return np.full(len(plan), cooling.kw_per_kw)
    return np.asarray(cooling.heat_fraction / cooling.cop_at(outdoor))


def _value(name: str, plan: Plan, site: Site, futures: Futures) -> Array | float:
    """What a kWh of a load brings on each course [$/kWh]: (S, T), or one figure for all."""
    for machine in site.machines:
        if machine.type == name:
            return value_usd_per_kwh(machine, plan.outlook.units, futures.hash, futures.token)
    return _fixed_value(name, site)


def _fixed_value(name: str, site: Site) -> float:
    """$/kWh of a job or tenant; one run of a job may carry a suffix after the job's name."""
    for tenant in site.tenants:
        if tenant.name == name:
            return tenant.price_usd_per_kwh
    runs = [job for job in site.jobs if name.startswith(job.name)]
    if not runs:
        raise DataError(f"load {name!r} of the plan is no machine, job or tenant of site {site.name}")
    return max(runs, key=lambda job: len(job.name)).value_usd_per_kwh
