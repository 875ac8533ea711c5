"""Facts: single figures read out of the ledger, each with an id, a unit, a time and a source.

Everything that the explainer says is built from these; nothing here decides, and nothing is written.
An id reads `topic.figure`, `topic.name.figure` or `topic.figure@time` (UTC). Figures that the ledger does not
have are left out, never guessed. Energy prices are in the source's own unit, money in `Units.money`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gridpilot.explain import gathering
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import decision
from gridpilot.monitor.decision import Snapshot
from gridpilot.monitor.health import PilotState

MINUS = "−"
LONGEST_NAME = 80

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#|~$&!])")
_LINK = re.compile(r"(://|www\.|@|:(?=\S))")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, zero-width and direction marks, line ends
