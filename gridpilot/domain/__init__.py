"""The nouns that stages exchange: frozen, checked, with read-only arrays.

Units are in the names: kW, kWh, $/MWh, $/h, fractions 0..1. Times are UTC and mark the START of
an interval: scalars are tz-aware `datetime`, arrays are `datetime64[s]`. Importing, charging and
consuming are positive. `$` is the site's one currency (`Units.money` names it on screen).
"""

from __future__ import annotations

from gridpilot.domain.contracts import (
    STRATEGIES,
    TIERS,
    AuctionTerms,
    CurtailmentTerms,
    Customer,
    FrequencyResponse,
    GridLimit,
    Operators,
    Reserve,
    RiskAppetite,
    Room,
    Rule,
    Simulation,
)
from gridpilot.domain.decision import (
    Allocation,
    Attempt,
    AuctionResult,
    Bid,
    Dispatch,
    JobNeed,
    Offer,
    Payment,
    Plan,
    Reading,
    RiskReport,
    RuleState,
    Served,
    SiteState,
    Switched,
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
from gridpilot.domain.site import OWN_NAMES, Battery, Cooling, Job, MachineType, Site, Tenant

__all__ = [
    "OWN_NAMES",
    "STRATEGIES",
    "TIERS",
    "Allocation",
    "Attempt",
    "AuctionResult",
    "AuctionTerms",
    "Band",
    "Battery",
    "Bid",
    "Cooling",
    "CurtailmentTerms",
    "Customer",
    "DataFlag",
    "Dispatch",
    "Forecast",
    "FrequencyResponse",
    "GridLimit",
    "Job",
    "JobNeed",
    "MachineType",
    "Offer",
    "Operators",
    "Payment",
    "Plan",
    "PriceHistory",
    "PriceOutlook",
    "Reading",
    "Reserve",
    "RiskAppetite",
    "RiskReport",
    "Room",
    "Rule",
    "RuleState",
    "Served",
    "Simulation",
    "Site",
    "SiteState",
    "Switched",
    "Tenant",
    "Trial",
    "Units",
    "value_usd_per_kwh",
]
