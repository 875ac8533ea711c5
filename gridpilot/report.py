"""The one JSON form of each result: what the command line prints and what the ledger keeps.

The keys of the public command line come first and never change; what the console needs beside them follows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gridpilot.domain import AuctionResult, Band, Dispatch, Forecast, Plan, PriceOutlook, RiskReport, Units
from gridpilot.values import Array, as_array, as_times, to_jsonable

GAP_PARTS: Final = {  # of a backtest's `gap_usd`, in words
    "horizon": "ends of days",
    "forecast": "forecast error",
    "profiles": "choice of profiles",
    "information": "what was not known",
}


def _band(band: Band) -> dict[str, Any]:
    return {
        "method": band.method,
        "point": band.point,
        "lower": band.lower,
        "upper": band.upper,
        "sigma": band.sigma,
        "quantiles": {f"{q:g}": v for q, v in band.quantiles.items()},
        "members": band.members,
    }


def forecast_record(forecast: Forecast) -> dict[str, Any]:
    """What the ledger keeps of a forecast: all three bands with their members. Energy is in $/MWh."""
    body = {
        "method": forecast.energy.method,
        "timestamp": forecast.timestamp,
        "origin": forecast.origin,
        "step_s": forecast.step_s,
        "bands": {name: _band(getattr(forecast, name)) for name in ("energy", "hash", "token")},
        "scores": forecast.scores,
        "score_days": forecast.score_days,
        "n_history": forecast.n_history,
        "version": forecast.version,
        "weights": forecast.weights,
        "drivers": forecast.drivers,
        "trials": {
            price: {
                "origin": trial.origin,
                "mae": trial.mae,
                "coverage": {f"{band:g}": share for band, share in trial.coverage.items()},
                "values": trial.values,
            }
            for price, trial in forecast.trials.items()
        },
        "flags": forecast.flags,
    }
    return _plain(body)


def forecast_json(forecast: Forecast) -> dict[str, Any]:
    """Energy in $/MWh under the public keys; then the record, with hash and token in the source's unit."""
    energy = forecast.energy
    body = {
        "method": energy.method,
        "timestamp": forecast.timestamp,
        "predicted_price": energy.point,
        "lower_bound": energy.lower,
        "upper_bound": energy.upper,
        "quantiles": {f"{q:g}": v for q, v in energy.quantiles.items()},
        "sigma_energy": energy.sigma,
        "sigma_hash": forecast.hash.sigma,
        "sigma_token": forecast.token.sigma,
        "flags": forecast.flags,
    }
    return {**_plain(body), **forecast_record(forecast)}


def plan_json(plan: Plan) -> dict[str, Any]:
    """Row 0 is the interval that runs now; soc_frac is the state at the end of each step."""
    body = {
        "status": plan.status,
        "objective_usd": plan.objective_usd,
        "solve_ms": plan.solve_ms,
        "timestamp": plan.timestamp,
        "charge_kw": plan.charge_kw,
        "discharge_kw": plan.discharge_kw,
        "soc_frac": plan.soc_frac,
        "import_kw": plan.import_kw,
        "export_kw": plan.export_kw,
        "loads_kw": plan.loads_kw,
        "marginal_value_usd_per_kwh": plan.marginal_value_usd_per_kwh,
        "attempts": plan.attempts,
        "method": plan.method,
        "step_s": plan.step_s,
        "soc_start_frac": plan.soc_start_frac,
        "cooling_kw": plan.cooling_kw,
        "power_price_usd_per_kwh": plan.power_price_usd_per_kwh,
        "terminal_usd_per_mwh": plan.terminal_usd_per_mwh,
        "energy_usd_per_mwh": plan.outlook.energy_usd_per_mwh,
        "hash_price": plan.outlook.hash_price,
        "token_price": plan.outlook.token_price,
        "flags": plan.flags,
        "customers_kw": plan.customers_kw,
        "reserve_up_kw": plan.reserve_up_kw,
        "reserve_down_kw": plan.reserve_down_kw,
        "extras_usd": plan.extras_usd,
        "outdoor_c": plan.outlook.outdoor_c,
        "hedge": plan.hedge,
        "room_kw": plan.room_kw,
        "room_c": plan.room_c,
    }
    return _plain(body)


def plan_from_json(body: Mapping[str, Any], units: Units) -> Plan:
    """A plan as it is on record, without its offers."""

    def array(name: str) -> Array:
        return as_array([math.nan if v is None else v for v in body[name]])

    stamps = as_times([stamp.rstrip("Z") for stamp in body["timestamp"]])
    arrays = ["charge_kw", "discharge_kw", "soc_frac", "import_kw", "export_kw", "cooling_kw", "room_kw", "room_c"]
    arrays += ["marginal_value_usd_per_kwh", "power_price_usd_per_kwh", "reserve_up_kw", "reserve_down_kw"]
    plain = ("status", "method", "step_s", "terminal_usd_per_mwh", "extras_usd", "soc_start_frac", "objective_usd")
    read: dict[str, Any] = {name: array(name) for name in arrays}
    read |= {name: math.nan if body[name] is None else body[name] for name in plain}
    read |= {name: {k: as_array(kw) for k, kw in body[name].items()} for name in ("loads_kw", "customers_kw")}
    energy, hashes, tokens = array("energy_usd_per_mwh"), array("hash_price"), array("token_price")
    known = PriceOutlook(stamps, body["step_s"], energy, hashes, tokens, units, outdoor_c=array("outdoor_c"))
    return Plan(**read, timestamp=stamps, outlook=known)


def auction_json(auction: AuctionResult) -> dict[str, Any]:
    """Welfare, payments and clearing price are $/h and $/kWh of this interval."""
    body = {
        "welfare": auction.welfare_usd_per_h,
        "allocation": [
            {
                "bidder": a.bidder,
                "service": a.service,
                "kw": a.kw,
                "asked_kw": a.asked_kw,
                "value_usd_per_h": a.value_usd_per_h,
            }
            for a in auction.allocation
        ],
        "payments": [
            {
                "bidder": p.bidder,
                "usd_per_h": p.usd_per_h,
                "externality": [
                    {"displaced": name, "kw": kw, "usd_per_kwh": price, "usd_per_h": money}
                    for name, kw, price, money in p.externality
                ],
                "others_without_usd_per_h": p.others_without_usd_per_h,
                "others_with_usd_per_h": p.others_with_usd_per_h,
            }
            for p in auction.payments
        ],
        "clearing_price": auction.clearing_price_usd_per_kwh,
        "method": auction.method,
        "exact": auction.exact,
        "solve_ms": auction.solve_ms,
        "reserve_usd_per_kwh": auction.reserve_usd_per_kwh,
        "capacity_kw": auction.capacity_kw,
        "rejected": [{"bidder": bidder, "reason": reason} for bidder, reason in auction.rejected],
        "house": auction.house,
        "bound": auction.bound_usd_per_h,
        "revenue": sum(p.usd_per_h for p in auction.payments),
    }
    return _plain(body)


def risk_json(risk: RiskReport, *, sample: bool = False) -> dict[str, Any]:
    """var and cvar are losses; `sample` adds the P&L of every path, its fan over time and each load's at full use."""
    body = {
        "var": risk.var,
        "cvar": risk.cvar,
        "max_drawdown": risk.max_drawdown,
        "volatility": risk.volatility,
        "risk_adjustment_factor": risk.risk_adjustment_factor,
        "n": risk.n,
        "alpha": risk.alpha,
        "status": risk.status,
        "expected": risk.expected,
        "cvar_limit_usd": risk.cvar_limit_usd,
        "regime": risk.regime,
        "service_shares": risk.service_shares,
        "average_drawdown": risk.average_drawdown,
        "cdar": risk.cdar,
    }
    if sample:
        body["pnl_usd"] = risk.pnl_usd
        body["fan_usd"] = {f"{q:g}": _short(usd, 7) for q, usd in risk.fan_usd.items()}
        body["full_usd"] = {name: _short(usd, 5) for name, usd in risk.full_usd.items()}
    return _plain(body)


def dispatch_json(dispatch: Dispatch) -> dict[str, Any]:
    """The absolute set points of one interval and what became of them."""
    body = {
        "machines": dispatch.machines,
        "total_power_kw": dispatch.total_power_kw,
        "payload": dispatch.payload,
        "constraints_satisfied": dispatch.constraints_satisfied,
        "status": dispatch.status,
        "origin": dispatch.origin,
        "at": dispatch.at,
        "valid_until": dispatch.valid_until,
        "battery_kw": dispatch.battery_kw,
        "machine_kw": dispatch.machine_kw,
        "cooling_kw": dispatch.cooling_kw,
        "room_kw": dispatch.room_kw,
        "jobs_kw": dispatch.jobs_kw,
        "tenants_kw": dispatch.tenants_kw,
        "grid_kw": dispatch.grid_kw,
        "violations": dispatch.violations,
    }
    return _plain(body)


def dispatch_from_json(body: Mapping[str, Any]) -> Dispatch:
    """The inverse of `dispatch_json`."""
    names = {f.name for f in dataclasses.fields(Dispatch)}
    times = {name: datetime.fromisoformat(body[name]) for name in ("at", "valid_until")}
    kept = {name: value for name, value in body.items() if name in names}
    return Dispatch(**{**kept, **times, "violations": tuple(body["violations"])})


def _short(usd: Array, digits: int) -> list[float]:
    """Significant digits that a picture needs, at half the space."""
    return [float(f"{value:.{digits}g}") for value in usd.tolist()]


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = to_jsonable(body)
    return plain
