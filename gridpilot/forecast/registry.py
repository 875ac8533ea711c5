"""Every forecaster by name. To add one: a class with the members of `Forecaster`, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gridpilot.errors import InputError
from gridpilot.forecast.classic import Garch, Kalman, Prophet, SeedEnsemble, Wavelet
from gridpilot.forecast.dayahead import DayAhead
from gridpilot.forecast.gp import GaussianProcess
from gridpilot.forecast.lear import Lear
from gridpilot.forecast.models import MODELS, Forecaster, WeeklyNaive
from gridpilot.forecast.net import SmallNet
from gridpilot.forecast.stack import Stack
from gridpilot.forecast.tabular import Forest, Linear, PlainGaussianProcess, XGBoost


@dataclass(frozen=True, slots=True)
class Entry:
    """How a forecaster is made, and after how many days an evaluation fits it again."""

    build: Callable[[], Forecaster]
    refit_days: int = 1


def _whole() -> GaussianProcess:
    return GaussianProcess("gp whole", (0, 24))


REGISTRY: Mapping[str, Entry] = {
    **{name: Entry(build) for name, build in MODELS.items()},
    "weekly naive": Entry(WeeklyNaive),
    "ensemble": Entry(lambda: DayAhead(Stack)),
    "gp": Entry(lambda: DayAhead(GaussianProcess)),
    "gp whole": Entry(lambda: DayAhead(_whole)),
    "net": Entry(lambda: DayAhead(SmallNet)),
    "lear": Entry(lambda: DayAhead(Lear)),
    "prophet": Entry(Prophet, 7),
    "forest": Entry(Forest, 28),
    "linear": Entry(Linear, 7),
    "seed ensemble": Entry(SeedEnsemble, 28),
    "garch": Entry(Garch, 28),
    "kalman": Entry(Kalman, 28),
    "xgboost": Entry(XGBoost, 28),
    "plain gp": Entry(PlainGaussianProcess, 28),
    "wavelet": Entry(Wavelet),
}


def named(text: str) -> list[str]:
    """Registered names out of a list like `ensemble,seasonal-naive`; hyphens and underscores count as spaces."""
    names = []
    for part in text.split(","):
        name = " ".join(part.replace("-", " ").replace("_", " ").split()).lower()
        if name not in REGISTRY:
            raise InputError(f"no model {part.strip()!r}: expected some of {', '.join(sorted(REGISTRY))}")
        if name not in names:
            names.append(name)
    return names
