"""Where the prices come from, each source's standing and whose its prices are; and how good the recorded ones are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from gridpilot import views
from gridpilot.console import format as fmt
from gridpilot.console import widgets
from gridpilot.market.metrics import Quality
from gridpilot.market.watch import Standing

REFRESH_S = 5.0


def standing_table(found: Sequence[Standing], timezone: str) -> pd.DataFrame:
    """One row a source; what never came is a dash, and so are the counts of one that asks no server, as a file."""
    return pd.DataFrame(
        {
            "source": [s.name for s in found],
            "is": [s.role for s in found],
            "unit": [s.unit or fmt.DASH for s in found],
            "newest price of": [fmt.local(s.price_at, timezone) for s in found],
            "age": [fmt.duration(s.age_s).replace(fmt.NBSP, " ") for s in found],
            "last good read": [fmt.local(s.last_success, timezone) for s in found],
            "latency, ms": [s.latency_ms for s in found],
            "calls": [_counted(s, s.calls) for s in found],
            "retries": [_counted(s, s.retries) for s in found],
            "failures": [_counted(s, s.failures) for s in found],
            "trouble": [_trouble(s, timezone) for s in found],
        }
    )


def _counted(found: Standing, n: int) -> float:
    return float(n) if found.calls else math.nan


def _trouble(found: Standing, timezone: str) -> str:
    """Why it is not used, and its last error where that says more."""
    error = f"{fmt.local(found.error_at, timezone)}: {found.error}" if found.error else ""
    if not found.refusal or found.refusal in found.error:
        return error or found.refusal
    return f"{found.refusal}; last error {error}" if error and found.error not in found.refusal else found.refusal


@st.fragment(run_every=REFRESH_S)
@widgets.saying_trouble()
def show() -> None:
    """The table with what became of each source at the newest look, and the licences."""
    found, timezone = views.sources(), views.current_site().timezone
    st.markdown("## Where the prices come from")
    if not found:
        st.caption("No source was read yet: the pilot reads them with its first cycle.")
        return
    config = dict.fromkeys(("latency, ms", "calls", "retries", "failures"), 0)
    widgets.table(standing_table(found, timezone), "price-sources", config, height="content")
    for credit in dict.fromkeys(f"{s.name}: {s.credit}" for s in found if s.credit):
        st.caption(widgets.inert(credit))


@st.cache_data(max_entries=8, show_spinner=False)
def _measured(cycle_id: str) -> Quality | None:
    """The figures change with a decision only: a page that ticks does not read a month of prices each time."""
    return views.data_quality()


def quality(snap: views.Snapshot, span: str) -> None:
    """The recorded prices, which reach back `span`, in five figures."""
    found = _measured(snap.cycle_id)
    if found is None:
        return
    unit = snap.units.energy
    with widgets.tile_row(5, 150):
        widgets.tile("Records", fmt.number(found.records), f"of {fmt.number(found.expected)} in {span}")
        widgets.tile("Missing", fmt.percent(found.missing_frac, 2), "of the expected records")
        often = fmt.duration(float(found.step_s)) if found.step_s else fmt.DASH
        regular = "nearly all steps alike" if found.regular else f"{fmt.percent(found.regular_frac)} of the steps alike"
        widgets.tile("One every", often, regular)
        share = f"{fmt.percent(found.relative_volatility)} of the median price" if found.records > 2 else ""
        note = "Standard deviation of the change from one price to the next."
        widgets.tile("Volatility", fmt.quantity(found.volatility, unit), share, note=note)
        slow = f"95 % within {fmt.milliseconds(found.latency_95_ms)}"
        widgets.tile("Source answers in", fmt.milliseconds(found.latency_ms), slow, note="The market stage of a cycle.")
