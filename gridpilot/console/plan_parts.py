"""What the Plan page says beside its picture: the plan as a table that fits a screen, and what its end hides."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from gridpilot import views
from gridpilot.console import day_parts
from gridpilot.console import format as fmt
from gridpilot.values import to_stamp, to_utc

SIGNED: Final = ("charge, kW", "discharge, kW", "import, kW", "export, kW")  # shown as one with its sign
POWER_HELP: Final = (
    "Shadow price of site power now: what one more kWh in this interval would bring over the whole plan, what could "
    "then be stored or put off included. Over the grid's price the connection is full. The clearing price on Auction "
    "is the worth of the dearest kW that asked in this interval and got none; it sees no later ones and can be lower."
)


def plan_shown(snap: views.Snapshot) -> pd.DataFrame:
    """The plan as rows that fit a screen: site time, price, battery and grid with their signs, loads."""
    every = day_parts.plan_table(snap)
    loads = [name for name in every.columns if name.endswith(", kW") and name not in SIGNED]
    worth = [name for name in every.columns if name.startswith("worth of stored energy")]
    columns = {
        "from": every["site time"],
        f"price, {snap.units.energy}": every[f"price, {snap.units.energy}"],
        "battery, kW": every["charge, kW"] - every["discharge, kW"],
        "SOC, %": every["state of charge, %"],
        "grid, kW": every["import, kW"] - every["export, kW"],
    }
    columns |= {name.removesuffix(", kW"): every[name] for name in loads}
    columns |= {name: every[name] for name in every.columns if name == "room, °C"}
    return pd.DataFrame(
        columns | {name.replace("worth of stored energy", "stored is worth"): every[name] for name in worth}
    )


def end_words(snap: views.Snapshot) -> list[str]:
    """Jobs that run dear at the end of the plan only because their deadline is after it: a sentence each."""
    stamps, price = views.times(snap.plan["timestamp"]), views.values(snap.plan["energy_usd_per_mwh"])
    zone, dear, out = ZoneInfo(snap.site.timezone), price > float(np.median(price)), []
    for job in snap.site.jobs:
        if not job.daily_deadline or job.name not in snap.plan["loads_kw"]:
            continue
        hour, minute = (int(part) for part in job.daily_deadline.split(":"))
        end = (to_utc(stamps[-1]) + timedelta(seconds=snap.step_s)).astimezone(zone)
        last = end.replace(hour=hour, minute=minute, second=0, microsecond=0)
        last -= timedelta(days=int(last > end))
        late = (stamps >= to_stamp(last.astimezone(UTC))) & dear & (views.values(snap.plan["loads_kw"][job.name]) > 1.0)
        if late.any():
            first = fmt.local(to_utc(stamps[int(np.argmax(late))]), snap.site.timezone)
            out.append(
                f"The job {job.name} also runs from {first}, when power is dear: its next deadline is after the end of "
                "the plan, which sees no hours beyond. Later plans see them and can wait for cheaper ones."
            )
    return out
