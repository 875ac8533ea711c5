"""What if: a recorded plan made again with something changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gridpilot.domain import Plan, PriceOutlook, RiskAppetite, Site
from gridpilot.errors import DataError
from gridpilot.monitor.decision import Snapshot, times, values
from gridpilot.plan.solve import plan as make_plan
from gridpilot.risk.scenarios import Futures, money
from gridpilot.risk.stress import plan_pnl
from gridpilot.values import Array, as_array

if TYPE_CHECKING:
    from gridpilot.plan.hedging import Scenarios


METER_KW = 0.5  # less is not told
SAME_SOC = 0.0005  # the page shows a tenth of a percent


@dataclass(frozen=True, slots=True)
class Change:
    """What is different; None leaves it as it is.

    Each price p becomes mean + spread_factor (p - mean) + price_shift, in USD/MWh. `service_factor` scales hash and
    token price.
    """

    price_shift_usd_per_mwh: float = 0.0
    spread_factor: float = 1.0
    service_factor: float = 1.0
    soc_frac: float | None = None
    battery_kw: float | None = None
    grid_kw: float | None = None

    @property
    def nothing(self) -> bool:
        """Whether all is as it was."""
        return self == Change()


def what_if(snap: Snapshot, change: Change, other: Site | None = None, scenarios: Scenarios | None = None) -> Plan:
    """The plan of that decision with the change, at another site if given, hedged over scenarios if given.

    DataError where it has no state recorded.
    """
    plan, site, known = snap.plan, other or snap.site, snap.state
    if known is None:
        raise DataError("this decision was recorded before its state was: wait for the next one")
    price = values(plan["energy_usd_per_mwh"])
    mean = float(np.mean(price))
    outlook = PriceOutlook(
        times(plan["timestamp"]),
        int(plan["step_s"]),
        as_array(mean + change.spread_factor * (price - mean) + change.price_shift_usd_per_mwh),
        as_array(change.service_factor * values(plan["hash_price"])),
        as_array(change.service_factor * values(plan["token_price"])),
        snap.units,
        outdoor_c=values(plan["outdoor_c"]),
    )
    battery = site.battery
    if change.battery_kw is not None:
        battery = replace(battery, charge_kw=change.battery_kw, discharge_kw=change.battery_kw)
    if change.grid_kw is not None:
        site = replace(site, import_kw=change.grid_kw, export_kw=change.grid_kw)
    state = known if change.soc_frac is None else replace(known, soc_frac=change.soc_frac)
    limit_usd = snap.risk.get("cvar_limit_usd")
    return make_plan(replace(site, battery=battery), state, outlook, scenarios=scenarios, cvar_limit_usd=limit_usd)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A plan by another appetite for risk beside the one in force, both with their set points kept on the same futures.

    P&L (S,) [$] counts the change in stored energy at the plan's price of it.
    """

    plan: Plan
    then_usd: Array
    now_usd: Array
    label: str


def weighed(snap: Snapshot, now: Plan, appetite: RiskAppetite, futures: Futures) -> Weighed:
    """The plan of that decision by another appetite for risk. `now` is the recorded plan.

    DataError where the decision has no state recorded.
    """
    from gridpilot.plan.hedging import Scenarios

    courses = Scenarios(futures.energy, futures.hash, futures.token)
    then = what_if(snap, Change(), replace(snap.site, risk=appetite), courses)

    def brings(plan: Plan) -> Array:
        soc = np.nan_to_num(np.array([plan.soc_start_frac, plan.soc_frac[-1]]))
        stored = float(soc[1] - soc[0]) * snap.site.battery.capacity_kwh
        return as_array(money(plan, snap.site, futures).sum(axis=1) + stored * then.terminal_usd_per_mwh / 1000.0)

    return Weighed(then, brings(then), brings(now), futures.label)


@dataclass(frozen=True, slots=True)
class Limit:
    """What the plan may not exceed: how much of it, in how many intervals all is used, the worth of one more [$]."""

    name: str
    amount: float
    unit: str
    binding: int
    one_more_usd: float


def limits(snap: Snapshot) -> list[Limit] | None:
    """The limits of the recorded plan, the most valuable first; None where it can't be made again to the optimum.

    The worth is over the whole horizon, by planning again with a kW, a kWh or a machine more.
    """
    if snap.state is None or snap.plan["status"] != "optimal":
        return None
    base, site, battery = what_if(snap, Change()), snap.site, snap.site.battery
    if base.status != "optimal":
        return None
    grid = replace(site, import_kw=site.import_kw + 1.0, export_kw=site.export_kw + 1.0)
    tried = [("grid connection", site.import_kw, "kW", np.maximum(base.import_kw, base.export_kw), grid)]
    if battery.capacity_kwh > 0.0:
        stronger = replace(battery, charge_kw=battery.charge_kw + 1.0, discharge_kw=battery.discharge_kw + 1.0)
        moved = np.maximum(base.charge_kw, base.discharge_kw)
        tried.append(("battery power", battery.charge_kw, "kW", moved, replace(site, battery=stronger)))
        top = battery.soc_max * battery.capacity_kwh
        if battery.soc_max + 1.0 / battery.capacity_kwh <= 1.0:
            fuller = replace(battery, soc_max=battery.soc_max + 1.0 / battery.capacity_kwh)
            stored = base.soc_frac * battery.capacity_kwh
            tried.append(("highest state of charge", top, "kWh", stored, replace(site, battery=fuller)))
    for machine in site.machines:
        more = tuple(replace(m, count=m.count + 1) if m is machine else m for m in site.machines)
        running = np.floor(base.loads_kw[machine.type] / machine.power_kw + 1e-6)
        tried.append((f"{machine.type} machines", machine.count, "", running, replace(site, machines=more)))
    out = [
        Limit(name, amount, unit, int(np.sum(used >= amount - 1e-4)), _gain(snap, base, other))
        for name, amount, unit, used, other in tried
    ]
    return sorted(out, key=lambda limit: -limit.one_more_usd)


def _gain(snap: Snapshot, base: Plan, other: Site) -> float:
    return max(0.0, what_if(snap, Change(), other).objective_usd - base.objective_usd)


def misfit(snap: Snapshot, change: Change) -> str:
    """What the recorded set points break of the change, so that they have no worth under it; empty where they fit."""
    plan = snap.plan
    for name, limit, flows in (
        ("takes", change.grid_kw, ("import_kw",)),
        ("exports", change.grid_kw, ("export_kw",)),
        ("moves the battery by", change.battery_kw, ("charge_kw", "discharge_kw")),
    ):
        most = max(float(np.max(values(plan[flow]))) for flow in flows)
        if limit is not None and most > limit + METER_KW:
            return f"it {name} {most:,.0f} kW, over {limit:,.0f} kW"
    start = plan["soc_start_frac"]
    if change.soc_frac is not None and (start is None or abs(change.soc_frac - float(start)) > SAME_SOC):
        known = "an unknown charge" if start is None else f"{100.0 * float(start):.0f} % of charge"
        return f"it begins at {known}"
    return ""


def kept_usd(snap: Snapshot, change: Change, then: Mapping[str, Any]) -> float | None:
    """What the recorded set points would bring at the changed prices [$]; None where they do not fit (`misfit`).

    Stored energy counts what it counts in the plan `then` (`report.plan_json`).
    """
    if misfit(snap, change):
        return None
    prices = {name: then[name] for name in ("energy_usd_per_mwh", "hash_price", "token_price")}
    money = plan_pnl({**snap.plan, **prices}, snap.site, snap.units)
    soc = values([snap.plan["soc_start_frac"], snap.plan["soc_frac"][-1]])
    stored = float(np.nan_to_num(soc[1] - soc[0])) * snap.site.battery.capacity_kwh
    extras = float(sum(snap.plan.get("extras_usd", {}).values()))
    return money + extras + stored * float(then["terminal_usd_per_mwh"]) / 1000.0
