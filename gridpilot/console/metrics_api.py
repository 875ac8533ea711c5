"""Figures for Prometheus, in its text format: `GET /metrics`.

Who may read them: whoever has the bearer token of the settings (GRIDPILOT_METRICS_TOKEN). Without a token, only a
caller on this machine, and only while nobody signs in here: behind a sign-in there is a proxy, and every caller of a
proxy on this machine looks as if it were one of its own. Each figure comes from the ledger; what is not known is left
out.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final

import anyio.to_thread
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gridpilot import views
from gridpilot.config import load_settings
from gridpilot.console import signin
from gridpilot.errors import GridPilotError

PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # headers that a proxy adds
CYCLES: Final = 200  # newest, behind the latencies


def refusal(request: Request) -> Response | None:
    """Why this caller may not read the figures; None where it may. GridPilotError where the settings are wrong."""
    token = load_settings().metrics_token
    if token is not None and token.get_secret_value():
        given = request.headers.get("authorization", "")
        wanted = f"Bearer {token.get_secret_value()}"
        if hmac.compare_digest(given.encode(), wanted.encode()):
            return None
        return PlainTextResponse("a bearer token is needed", 401, {"WWW-Authenticate": "Bearer"})
    if signin.configured():
        return PlainTextResponse("not found: set GRIDPILOT_METRICS_TOKEN", 404)
    caller = request.client.host if request.client else ""
    asked = request.url.hostname or ""  # a page elsewhere may have its own name lead here
    if not signin.loopback(caller) or not signin.loopback(asked) or any(name in request.headers for name in PASSED_ON):
        return PlainTextResponse("from this machine alone: set GRIDPILOT_METRICS_TOKEN", 403)
    return None


async def answer(request: Request) -> Response:
    """The figures, in the form that the caller asks for."""
    try:
        refused = refusal(request)
        if refused is not None:
            return refused
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        text = await anyio.to_thread.run_sync(lambda: encode(registry()))
    except GridPilotError as error:
        return PlainTextResponse(str(error), 503)
    return Response(text, media_type=kind, headers={"Cache-Control": "no-store"})


def registry() -> CollectorRegistry:
    """What the ledger says now."""
    out = CollectorRegistry(auto_describe=False)
    with views.looking(views.Look()):  # the console's own site
        families = list(_families())

    class Now(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families

    out.register(Now())
    return out


def _families() -> Iterator[Metric]:
    health, status, shown = views.health(CYCLES), views.status(), views.shown()
    snap = views.newest()
    yield _gauge("heartbeat_age_seconds", "Since the newest good cycle, wall clock", health.heartbeat_age_s)
    yield _gauge("price_age_seconds", "Since the newest price interval began, source clock", status.price_age_s)
    yield _by("process_up", "Whether it is at work", "process", {
        "pilot": float(bool(health.pilot)), "watchdog": float(health.watchdog), "watch": float(health.watch)
    })  # fmt: skip
    yield _by("control", "Who is in control", "control", {status.control: 1.0})
    yield _latencies(health)
    soc = snap.cycle["soc_frac"] if snap else None
    yield _gauge("soc_ratio", "State of charge, 0 to 1", soc)
    yield _gauge(
        "grid_kilowatts", "Drawn from the grid by the meter, negative when exporting", shown.grid_kw if shown else None
    )
    yield _by("machines_on", "Machines that run", "type", dict(shown.machines) if shown else {})
    yield _alarms()
    yield _gauge(
        "forecast_drift_hours",
        "Level of the drift test; the seasonal naive is used from 24 on",
        views.forecast_drift().level,
    )
    yield _gauge("messages_waiting", "Messages about alarms that the receiver has not taken yet", health.messages)
    entries = CounterMetricFamily("gridpilot_ledger_entries", "Entries of the ledger")
    entries.add_metric([], health.head_seq)
    yield entries
    if health.verified is not None:
        yield _gauge("ledger_intact", "Whether the chain held together at its newest check", float(health.verified.ok))


def _gauge(name: str, help_: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"gridpilot_{name}", help_)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _by(name: str, help_: str, label: str, values: dict[str, float] | dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"gridpilot_{name}", help_, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _latencies(health: views.Health) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "gridpilot_cycle_stage_seconds",
        f"Time in each stage, over the newest {CYCLES} cycles",
        labels=["stage", "quantile"],
    )
    for stage, quantiles in health.quantiles_ms((0.5, 0.95)).items():
        for name, ms in zip(("0.5", "0.95"), quantiles, strict=True):
            family.add_metric([stage, name], ms / 1000.0)
    return family


def _alarms() -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "gridpilot_alarms", "Alarms on the list, by severity and state", labels=["severity", "state"]
    )
    for (severity, state), count in views.alarm_counts().items():
        family.add_metric([severity, state.lower()], count)
    return family
