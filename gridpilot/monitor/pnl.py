"""Profit and loss: the rate of a set of set points, and what an interval really brought.

One formula for the plan's preview, the ledger's settlement and the comparison with an outside meter:

    profit [$/h] = machines + tenants + jobs + export - import - wear

machines  sum of count x rate x price x factor (`domain.Units`)
tenants   what the auction made them pay
jobs      kW x the site's own value of the job's energy
import    max(0, load + charge - discharge) x energy price / 1000; export likewise at the same price
wear      |battery kW| x wear per kWh
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gridpilot.domain import PriceHistory, Site, Units


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one interval; hash and token in the source's unit, NaN where unknown."""

    energy_usd_per_mwh: float
    hash_price: float
    token_price: float
    units: Units

    @classmethod
    def of(cls, history: PriceHistory, index: int = -1) -> Prices:
        """The prices of one row of a history."""
        return cls(
            float(history.energy_usd_per_mwh[index]),
            float(history.hash_price[index]),
            float(history.token_price[index]),
            history.units,
        )


@dataclass(frozen=True, slots=True)
class SetPoints:
    """What runs: machines by type, kW of jobs and tenants by name, battery (charging positive) and room cooling
    [kW]."""

    machines: Mapping[str, float]
    battery_kw: float = 0.0
    jobs_kw: Mapping[str, float] = field(default_factory=dict)
    tenants_kw: Mapping[str, float] = field(default_factory=dict)
    room_kw: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Money per hour, by cause. Costs are positive numbers that `profit` subtracts."""

    machines: Mapping[str, float]
    tenants: float
    jobs: float
    export_income: float
    import_cost: float
    wear: float
    load_kw: float  # machines, tenants, jobs and cooling

    @property
    def profit_usd_per_h(self) -> float:
        """Income less cost."""
        income = sum(self.machines.values()) + self.tenants + self.jobs + self.export_income
        return income - self.import_cost - self.wear


def machine_revenue(site: Site, prices: Prices, counts: Mapping[str, float]) -> dict[str, float]:
    """Revenue of the running machines [$/h] by type: count x rate x price x factor; 0 where the price is unknown."""
    out: dict[str, float] = {}
    for machine in site.machines:
        if machine.product == "hash":
            price, factor = prices.hash_price, prices.units.hash_usd_per_h
        else:
            price, factor = prices.token_price, prices.units.token_usd_per_h
        earns = 0.0 if math.isnan(price) else machine.rate * price * factor  # NaN: the source has no such price
        out[machine.type] = counts.get(machine.type, 0) * earns
    return out


def machine_kw(site: Site, counts: Mapping[str, float]) -> float:
    """Power of the running machines alone [kW]."""
    return sum(counts.get(m.type, 0) * m.power_kw for m in site.machines)


def rate(  # noqa: PLR0913 - a set point each
    site: Site,
    prices: Prices,
    counts: Mapping[str, float],
    *,
    battery_kw: float = 0.0,
    jobs_kw: Mapping[str, float] | None = None,
    tenants_kw: Mapping[str, float] | None = None,
    tenants_usd_per_h: float = 0.0,
    room_kw: float = 0.0,
) -> Rate:
    """Money per hour of these set points at these prices. battery_kw is positive when charging."""
    jobs_kw, tenants_kw = jobs_kw or {}, tenants_kw or {}
    it_kw = machine_kw(site, counts) + sum(jobs_kw.values()) + sum(tenants_kw.values())
    load_kw = it_kw * (1.0 + site.cooling.kw_per_kw) + room_kw
    grid_kw = load_kw + battery_kw
    price = prices.energy_usd_per_mwh / 1000.0
    value = {job.name: job.value_usd_per_kwh for job in site.jobs}
    return Rate(
        machines=machine_revenue(site, prices, counts),
        tenants=tenants_usd_per_h,
        jobs=sum(kw * value.get(name, 0.0) for name, kw in jobs_kw.items()),
        export_income=max(-grid_kw, 0.0) * price,
        import_cost=max(grid_kw, 0.0) * price,
        wear=abs(battery_kw) * site.battery.wear_usd_per_kwh,
        load_kw=load_kw,
    )


def by_asset(site: Site, prices: Prices, earned: Rate, set_: SetPoints) -> dict[str, float]:
    """The profit of a rate by who makes it [$/h]: machine types, jobs, "tenants", "battery" and "room cooling".

    Each asset has its own income, and pays for its energy, with the cooling of its heat, at the price of the interval;
    what is drawn and what is fed in costs and brings the same, so that the parts add up to the profit.
    """
    price, overhead = prices.energy_usd_per_mwh / 1000.0, 1.0 + site.cooling.kw_per_kw
    value = {job.name: job.value_usd_per_kwh for job in site.jobs}
    counts = set_.machines
    machines = {m.type: m.power_kw * counts.get(m.type, 0) for m in site.machines}
    out = {name: earned.machines[name] - kw * overhead * price for name, kw in machines.items()}
    out |= {name: kw * (value.get(name, 0.0) - overhead * price) for name, kw in set_.jobs_kw.items()}
    if set_.tenants_kw:
        out["tenants"] = earned.tenants - sum(set_.tenants_kw.values()) * overhead * price
    out["battery"] = -set_.battery_kw * price - earned.wear
    if set_.room_kw:
        out["room cooling"] = -set_.room_kw * price
    return out


def always_on(
    site: Site,
    prices: Prices,
    local_hour: int,
    *,
    jobs_kw: Mapping[str, float],
    tenants_kw: Mapping[str, float],
    tenants_usd_per_h: float = 0.0,
) -> Rate:
    """The reference "always on": the same tenants and jobs, every machine that has work, battery idle.

    Machines fill the connection by revenue per kW and never look at the energy price: what the site would
    do without a decision engine.
    """
    per_kw = {m.type: machine_revenue(site, prices, {m.type: 1})[m.type] / m.power_kw for m in site.machines}
    served = sum(jobs_kw.values()) + sum(tenants_kw.values())
    left = site.import_kw / (1.0 + site.cooling.kw_per_kw) - served
    counts: dict[str, int] = {}
    for machine in sorted(site.machines, key=lambda m: (-per_kw[m.type], m.type)):
        share = machine.demand_by_hour[local_hour] if machine.demand_by_hour else 1.0
        counts[machine.type] = max(0, min(int(machine.count * share), int(left / machine.power_kw)))
        left -= counts[machine.type] * machine.power_kw
    return rate(site, prices, counts, jobs_kw=jobs_kw, tenants_kw=tenants_kw, tenants_usd_per_h=tenants_usd_per_h)
