"""The hash and the token price beside an energy price."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gridpilot.config import DATA, load_site
from gridpilot.market.beside import UNKNOWN, service

SITE = load_site(DATA / "site-default.toml")


def test_service__nobody_gives_the_price__a_warning_names_who_earns_nothing() -> None:
    found = service("hash", None, 3, replace(SITE, hash_usd_per_ph_day=0.0))
    assert np.isnan(found.price).all()
    (flag,) = found.flags
    assert (flag.code, flag.severity) == (UNKNOWN, "warn")
    assert "air, immersion, hydro count as worth nothing" in flag.message
    assert "set hash_usd_per_ph_day in [prices] of the site file (GRIDPILOT_SITE)" in flag.message
    assert "GRIDPILOT_HASH_SOURCE=mempool" in flag.message


def test_service__no_machine_earns_by_it__nothing_to_say() -> None:
    machines = tuple(m for m in SITE.machines if m.product == "token")
    assert service("hash", None, 3, replace(SITE, machines=machines, hash_usd_per_ph_day=0.0)).flags == ()


def test_service__the_sites_figure__said_to_be_constant() -> None:
    (flag,) = service("hash", None, 3, replace(SITE, hash_usd_per_ph_day=50.0)).flags
    assert (flag.code, flag.severity) == ("CONSTANT", "info")


def test_service__a_files_price_in_the_other_unit__a_warning_says_what_to_set() -> None:
    given = np.array([55.0, np.nan, 56.0])  # USD/PH/day, as everyone writes it
    found = service("hash", given, 3, SITE)
    (flag,) = found.flags
    assert (flag.code, flag.severity) == ("UNIT_DOUBTFUL", "warn")
    assert 'hash_unit = "USD/PH/day" in [prices]' in flag.message
    assert service("hash", given, 3, replace(SITE, hash_unit="USD/PH/day")).flags == ()
    assert service("hash", given / 24_000.0, 3, SITE).flags == ()
    assert service("token", np.full(3, np.nan), 3, SITE).flags == ()
