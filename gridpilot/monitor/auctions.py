"""Questions to an auction - other bids, another lie - and the auctions that the ledger keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from gridpilot.auction.bids import USES, Refusal, listed, parse_bids
from gridpilot.auction.book import POWER, Book, Supply
from gridpilot.auction.mechanism import clear_book
from gridpilot.auction.proof import Audit, Outcome, audit, probe
from gridpilot.domain import AuctionResult, Bid
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.decision import Snapshot, times
from gridpilot.values import Array, Times, as_array, iso


@dataclass(frozen=True, slots=True)
class Question:
    """An auction that is not held: nothing of it is sent."""

    bids: tuple[Bid, ...]
    refused: tuple[Refusal, ...]
    supply: Supply

    @staticmethod
    def of(rows: Sequence[Mapping[str, Any]], supply: Supply) -> Question:
        """The question of a table with the columns of a bids file."""
        bids, refused = parse_bids(rows)
        return Question(bids, refused, supply)

    @property
    def bidders(self) -> tuple[str, ...]:
        """Everybody who would pay, by name."""
        return tuple(sorted({bid.bidder for bid in self.bids if not bid.house}))

    def clear(self) -> AuctionResult:
        """Who would get what, and pay what."""
        result = clear_book(Book.of(self.bids), self.supply).result()
        return replace(result, rejected=listed(self.refused, result.rejected))

    def otherwise(self, bidder: str, price_factor: float, kw_factor: float) -> tuple[Outcome, Outcome]:
        """What a bidder gets with its bids, and with these multiples of its prices and kW; both by its true bids."""
        told = [
            replace(
                bid,
                kw=bid.kw * kw_factor,
                min_kw=bid.min_kw * kw_factor,
                price_usd_per_kwh=bid.price_usd_per_kwh * price_factor,
            )
            for bid in self.bids
            if bid.bidder == bidder
        ]
        return probe(self.bids, self.supply, bidder, told)

    def audit(self, tries: int) -> Audit:
        """Whether one of some random misreports would have paid."""
        return audit(self.bids, self.supply, np.random.default_rng(0), tries)


def bid_rows(auction: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bids of a recorded auction as rows of a bids file."""
    out = []
    for bid in auction["bids"]:
        uses = {POWER: 1.0, **bid.get("uses", {})}
        plain = {name: bid[name] for name in ("bidder", "service", "kw", "price_usd_per_kwh", "divisible")}
        more = {"min_kw": bid.get("min_kw", 0.0), "house": bid.get("house", False)}
        out.append(plain | more | {f"{USES}{name}": amount for name, amount in uses.items()})
    return out


@dataclass(frozen=True, slots=True)
class Held:
    """Recorded auctions, oldest first: $/kWh and $/h."""

    timestamp: Times
    clearing_usd_per_kwh: Array
    energy_usd_per_kwh: Array  # what the energy itself cost then; NaN where it is not recorded
    revenue_usd_per_h: Array


def held(ledger: Ledger, snap: Snapshot, hours: float) -> Held | None:
    """The auctions of the last hours before a decision; None where there are none."""
    since = snap.at - timedelta(hours=hours)
    entries = ledger.entries("auction", since=since, limit=5000, newest_first=False)
    if not entries:
        return None
    rows = ledger.prices(snap.cycle["source"], since=since - timedelta(days=1))
    stamps = times([iso(entry.at) for entry in entries])
    place = np.searchsorted(rows.timestamp, stamps, side="right") - 1
    known = place >= 0
    energy = np.full(len(entries), np.nan)
    energy[known] = rows.energy_usd_per_mwh[place[known]] / 1000.0
    return Held(
        stamps,
        as_array([entry.body["clearing_price"] for entry in entries]),
        as_array(energy),
        as_array([sum(payment["usd_per_h"] for payment in entry.body["payments"]) for entry in entries]),
    )
