"""`/metrics` on a real console server, read by Prometheus's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from gridpilot.config import Settings
from gridpilot.console import metrics_api, signin
from gridpilot.ledger.store import Ledger
from gridpilot.monitor.alarms import Condition, listed, shelve, watch
from gridpilot.pilot import one_cycle
from tests.browser.harness.server import Server, serve

TOKEN = "a-token-of-prometheus"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One decision, an alarm that wants an eye and one that is shelved."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    wall = datetime.now(UTC)
    one_cycle(Settings(db_url=url, refit=False, replay_speed=0.0), wall)
    with Ledger.open(url) as opened:
        watch(opened, [Condition("HOT", "alarm", "80 C", "cool"), Condition("SLOW", "warn", "3 s", "see")], wall, wall)
        slow = next(alarm for alarm in listed(opened) if alarm.code == "SLOW")
        until = datetime.fromtimestamp(wall.timestamp() + 3600, UTC)
        shelve(opened, slow.id, by="ola", why="known", until=until, wall=wall, present=wall)
        opened.put_state("watch", {"at": wall, "seq": opened.head().seq})
        yield opened


def running(folder: Path, ledger: Ledger, **env: str) -> Server:
    return serve(folder, env={"GRIDPILOT_NO_PILOT": "1", "GRIDPILOT_DB_URL": f"sqlite:///{ledger.name}", **env})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, ledger: Ledger) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("plain"), ledger) as console:
        yield console


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, ledger: Ledger) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("guarded"), ledger, GRIDPILOT_METRICS_TOKEN=TOKEN) as console:
        yield console


def read(console: Server, **headers: str) -> requests.Response:
    return requests.get(f"{console.url}/metrics", headers=headers, timeout=20)


def figures(families: Iterator[Metric]) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.mark.slow
def test_metrics__one_decision__figures_of_the_ledger(plain: Server, ledger: Ledger) -> None:
    reply = read(plain)
    assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-store")
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    found = figures(text_string_to_metric_families(reply.text))
    newest = ledger.latest("cycle")
    assert newest is not None
    assert found["gridpilot_soc_ratio",] == pytest.approx(newest.body["soc_frac"])
    assert found["gridpilot_ledger_entries_total",] == ledger.head().seq
    assert found["gridpilot_cycle_stage_seconds", "0.95", "plan"] == pytest.approx(
        newest.body["timings_ms"]["plan"] / 1e3
    )
    assert found["gridpilot_process_up", "watchdog"] == 0.0
    assert found["gridpilot_alarms", "alarm", "unack"] == 1.0
    assert found["gridpilot_alarms", "warn", "shelved"] == 1.0
    assert found["gridpilot_alarms", "warn", "acked"] == 0.0
    reading = ledger.latest("reading")
    assert reading is not None
    assert {k[1]: v for k, v in found.items() if k[0] == "gridpilot_machines_on"} == reading.body["machines"]
    assert ("gridpilot_heartbeat_age_seconds",) not in found, "no pilot ever beat: left out, not zero"


@pytest.mark.slow
def test_metrics__asked_for_openmetrics__is_that(plain: Server) -> None:
    reply = read(plain, Accept="application/openmetrics-text; version=1.0.0")
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert ("gridpilot_control", "AUTO") in figures(open_families(reply.text))


@pytest.mark.slow
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_metrics__passed_on_by_a_proxy_without_a_token__refused(plain: Server, header: str) -> None:
    reply = read(plain, **{header: "203.0.113.7"})
    assert (reply.status_code, "gridpilot_" in reply.text) == (403, False)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["", "Bearer wrong", TOKEN, f"bearer {TOKEN}x", f"Basic {TOKEN}"])
def test_metrics__without_the_token__401_and_not_a_figure(guarded: Server, given: str) -> None:
    reply = read(guarded, **({"Authorization": given} if given else {}))
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "gridpilot_" not in reply.text and TOKEN not in reply.text


@pytest.mark.slow
def test_metrics__with_the_token__through_a_proxy_too(guarded: Server) -> None:
    reply = read(guarded, **{"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.7"})
    assert reply.status_code == 200 and "gridpilot_ledger_entries_total" in reply.text


def request(host: str, asked: str = "localhost:8501") -> Request:
    headers = [(b"host", asked.encode())]
    return Request({"type": "http", "method": "GET", "path": "/metrics", "headers": headers, "client": (host, 1)})


@pytest.mark.parametrize(("sign_in", "host", "status"), [(True, "127.0.0.1", 404), (False, "10.0.0.5", 403)])
def test_refusal__sign_in_is_on_or_caller_elsewhere__closed_without_a_token(
    sign_in: bool, host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signin, "configured", lambda: sign_in)
    refused = metrics_api.refusal(request(host))
    assert refused is not None and refused.status_code == status


def test_refusal__a_name_elsewhere_that_leads_to_this_machine__closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "configured", lambda: False)
    refused = metrics_api.refusal(request("127.0.0.1", "evil.example:8501"))
    assert refused is not None and refused.status_code == 403
    assert metrics_api.refusal(request("127.0.0.1", "[::1]:8501")) is None


def test_refusal__empty_token__is_none_and_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPILOT_METRICS_TOKEN", "")
    monkeypatch.setattr(signin, "configured", lambda: True)
    asked = request("127.0.0.1")
    asked.scope["headers"] = [(b"authorization", b"Bearer ")]
    refused = metrics_api.refusal(asked)
    assert refused is not None and refused.status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_refusal__this_machine_without_a_sign_in__open(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "configured", lambda: False)
    assert metrics_api.refusal(request(host)) is None
