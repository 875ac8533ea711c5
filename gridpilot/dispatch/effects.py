"""What each kind of operator's command makes of a planned dispatch. Pure.

kind            target                                                      meaning
machines        {type: count, ...}                                          these counts; other types follow the plan
battery_kw      {"battery_kw": kW, positive when charging}                  this power; machines follow the plan
hold            {}                                                          machines stay as they are, battery at rest
curtail         {"import_kw": kW} or {"percent": of the connection}         the most that is drawn from the grid
threshold       {"type": type or "all miners", "energy_usd_per_mwh": $/MWh} off while energy costs so much or more
estop           {}                                                          everything off now, until it is released
estop_release   {"step": "request"}, then {"step": "confirm"}               within 30 s
resume          {}                                                          ends a hold after outside changes
clock           {"speed": x} or {"step_s": s}                               the replay clock (not an override)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gridpilot.dispatch.emergency import failsafe, scale_down
from gridpilot.dispatch.machines import from_counts
from gridpilot.domain import Dispatch, Site, SiteState
from gridpilot.errors import InputError

OVERRIDES = ("machines", "battery_kw", "hold", "curtail", "threshold")
KINDS = (*OVERRIDES, "estop", "estop_release", "resume", "clock")
MINERS = "all miners"  # a threshold's type that stands for every machine that earns by hashing


def apply_override(
    site: Site,
    state: SiteState,
    planned: Dispatch,
    kind: str,
    target: Mapping[str, Any],
    energy_usd_per_mwh: float = math.nan,
) -> Dispatch:
    """A command's absolute target laid over a planned dispatch, and checked anew like any other.

    `energy_usd_per_mwh` is the price of the running interval; NaN, unknown, counts as too dear for a threshold.
    """
    check_target(kind, target)
    if kind not in OVERRIDES:
        return failsafe(site, state, planned.at, planned.valid_until, "estop") if kind == "estop" else planned
    machines, battery_kw, origin = dict(planned.machines), planned.battery_kw, "override"
    if kind == "curtail":
        return _curtailed(site, state, planned, import_limit_kw(site, target))
    if kind == "machines":
        machines.update({name: int(count) for name, count in target.items()})
    elif kind == "battery_kw":
        battery_kw = float(target["battery_kw"])
    elif kind == "threshold":
        if energy_usd_per_mwh < target["energy_usd_per_mwh"]:
            return replace(planned, origin=origin)
        machines.update(dict.fromkeys(_types(site, target["type"]), 0))
    else:
        machines, battery_kw, origin = _as_they_are(site, state), 0.0, "hold"
    return _dispatch(site, state, planned, machines, battery_kw, origin)


def import_limit_kw(site: Site, target: Mapping[str, Any]) -> float:
    """The most that a curtailment lets the site draw from the grid; its percent is of the connection."""
    if "percent" in target:
        return float(target["percent"]) / 100.0 * site.import_kw
    return float(target["import_kw"])


def _curtailed(site: Site, state: SiteState, planned: Dispatch, limit_kw: float) -> Dispatch:
    """As many whole machines as fit under the limit: charging goes first, then what earns least for its power.

    Planned discharge goes on, and counts. Cooling beyond the heat ends.
    """
    if planned.grid_kw <= limit_kw:
        return replace(planned, origin="override")
    bare = _dispatch(site, state, planned, planned.machines, planned.battery_kw, "override")
    shed, _ = scale_down(site, state, bare, limit_kw, margin=0.0)
    return shed


def _dispatch(
    site: Site, state: SiteState, planned: Dispatch, machines: Mapping[str, int], battery_kw: float, origin: str
) -> Dispatch:
    return from_counts(
        site,
        state,
        machines,
        battery_kw,
        planned.jobs_kw,
        planned.tenants_kw,
        planned.at,
        planned.valid_until,
        origin,
        planned.step_s,
    )


def _as_they_are(site: Site, state: SiteState) -> dict[str, int]:
    return {m.type: int(state.machines.get(m.type, 0)) for m in site.machines}


def _types(site: Site, named: str) -> list[str]:
    """The machine types that a threshold names; none for a type that the site does not have."""
    return [m.type for m in site.machines if m.type == named or (named == MINERS and m.product == "hash")]


# --- targets ---------------------------------------------------------------------------------


def check_target(kind: str, target: Mapping[str, Any], site: Site | None = None) -> None:
    """InputError for a kind that is unknown, or a target that it (or the site, where one is given) does not know."""
    if kind not in KINDS:
        raise InputError(f"kind of command is {kind!r}: expected one of {', '.join(KINDS)}")
    wrong = _wrong(kind, target)
    if not wrong and site is not None and kind == "threshold" and not _types(site, target["type"]):
        wrong = f"a type that the site has: {', '.join([*(m.type for m in site.machines), MINERS])}"
    if wrong:
        raise InputError(f"target of {kind} is {dict(target)!r}: expected {wrong}")


def _wrong(kind: str, target: Mapping[str, Any]) -> str:
    """What the target should have been; empty where it is right."""
    if kind == "machines":
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in target.values())
        return "" if target and whole else "counts by machine type, whole numbers from 0"
    if kind == "battery_kw":
        return "" if set(target) == {"battery_kw"} and _finite(target["battery_kw"]) else '{"battery_kw": number}'
    if kind == "curtail":
        key, value = next(iter(target.items()), ("", None))
        most = {"import_kw": math.inf, "percent": 100.0}.get(key, -1.0)
        fits = len(target) == 1 and _finite(value) and 0.0 <= value <= most  # type: ignore[operator]
        return "" if fits else '{"import_kw": kW from 0} or {"percent": 0 to 100 of the connection}'
    if kind == "threshold":
        known = set(target) == {"type", "energy_usd_per_mwh"} and isinstance(target["type"], str)
        fits = known and _finite(target["energy_usd_per_mwh"])
        return "" if fits else f'{{"type": machine type or "{MINERS}", "energy_usd_per_mwh": number}}'
    if kind == "estop_release":
        return "" if target.get("step") in ("request", "confirm") else '{"step": "request" or "confirm"}'
    if kind == "clock":
        known = set(target) <= {"speed", "step_s"} and all(_finite(v) and v >= 0 for v in target.values())
        return "" if target and known else '{"speed": x} or {"step_s": seconds}, from 0'
    return "" if not target else "no target"


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
