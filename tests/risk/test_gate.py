"""What the site sells is held back where nothing is known of the risk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gridpilot.config import Settings
from gridpilot.cycle import Engine, open_engine, run_cycle
from gridpilot.domain import AuctionTerms
from gridpilot.evidence import replay
from gridpilot.ledger.store import Ledger
from gridpilot.risk.measures import FACTOR_UNKNOWN
from gridpilot.values import iso

LAST = datetime(2024, 6, 24, 12, tzinfo=UTC)
HOURS = 24 * 20


def prices(kind: str) -> np.ndarray:
    hours = np.arange(HOURS)
    if kind == "equal":
        return np.full(HOURS, 50.0)
    return 50.0 + 10.0 * np.sin(hours / 4.0) + np.random.default_rng(0).normal(0.0, 8.0, HOURS)


def engine_of(kind: str, folder: Path, ledger: Ledger) -> Engine:
    rows = [
        f"{iso(LAST - timedelta(hours=HOURS - 1 - i))},{price:.2f},60,0.6\n" for i, price in enumerate(prices(kind))
    ]
    file = folder / "prices.csv"
    file.write_text("timestamp,energy_price,hash_price,token_price\n" + "".join(rows))
    engine = open_engine(Settings(source=f"csv:{file}"), ledger)
    engine.site = replace(
        engine.site,
        auction=AuctionTerms("risk-adjusted"),
        hash_unit="USD/PH/day",
        token_unit="USD/Mtok",
    )
    engine.source.site = engine.site  # type: ignore[attr-defined]
    return engine


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [("equal", "not enough data: all 200 values are equal", FACTOR_UNKNOWN), ("real", "ok", 1.0)],
)
def test_F37_risk_without_figures__services_bid_half_their_gain_over_the_margin(
    kind: str, status: str, part: float, tmp_path: Path
) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        engine = engine_of(kind, tmp_path, ledger)
        first, second = (run_cycle(engine, LAST + timedelta(minutes=5)) for _ in range(2))
        assert first.risk.status == status
        bids = [
            {bid["bidder"]: bid["price_usd_per_kwh"] for bid in ledger.cycle(c.cycle_id)["auction"].body["bids"]}["gpu"]
            for c in (first, second)
        ]
        margin = (1.0 + engine.site.cooling.kw_per_kw) * second.plan.power_price_usd_per_kwh[0]
        assert bids[0] > margin
        assert bids[1] == pytest.approx(margin + part * (bids[0] - margin), rel=1e-6)
        assert replay(ledger, second.cycle_id).differences == ()
