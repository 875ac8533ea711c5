"""The nouns that stages exchange: frozen, checked, with read-only arrays.

Units are in the names: kW, kWh, $/MWh, $/h, fractions 0..1. Times are UTC and mark the START of
an interval: scalars are tz-aware `datetime`, arrays are `datetime64[s]`. Importing, charging and
consuming are positive. `$` is the site's one currency (`Units.money` names it on screen).
"""

from __future__ import annotations

from gridpilot.domain.decision import (
    Allocation,
    Attempt,
    AuctionResult,
    Bid,
    Dispatch,
    JobNeed,
    Payment,
    Plan,
    Reading,
    RiskReport,
    SiteState,
)
from gridpilot.domain.prices import (
    Band,
    DataFlag,
    Forecast,
    PriceHistory,
    PriceOutlook,
    Trial,
    Units,
    value_usd_per_kwh,
)
from gridpilot.domain.site import Battery, Cooling, Job, MachineType, Site, Tenant

__all__ = [
    "Allocation",
    "Attempt",
    "AuctionResult",
    "Band",
    "Battery",
    "Bid",
    "Cooling",
    "DataFlag",
    "Dispatch",
    "Forecast",
    "Job",
    "JobNeed",
    "MachineType",
    "Payment",
    "Plan",
    "PriceHistory",
    "PriceOutlook",
    "Reading",
    "RiskReport",
    "Site",
    "SiteState",
    "Tenant",
    "Trial",
    "Units",
    "value_usd_per_kwh",
]
