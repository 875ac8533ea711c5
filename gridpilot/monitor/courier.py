"""Messages about alarms to a receiver outside: kept in the ledger's outbox until the receiver has taken them.

A message is a POST of JSON, signed as Standard Webhooks are (`signing`), with its number as the id: the same message
again, after an answer that was lost, has the same id. A try ends after `TRY_S` seconds whatever the receiver does. What
was not taken is tried again, ever more seldom, for a day, and then given up; the receiver's failures are on record, so
that a dead receiver is an alarm of its own. Nothing here runs in a cycle: the watch does it, beside its looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from pydantic import SecretStr

from gridpilot import address
from gridpilot.config import Settings
from gridpilot.errors import ConfigError, GridPilotError
from gridpilot.ledger import alarm_rows
from gridpilot.ledger.store import Ledger
from gridpilot.market.http import LOOPBACK, Http, Policy
from gridpilot.monitor.conditions import RECEIVER
from gridpilot.signing import headers, sign
from gridpilot.values import iso

TRY_S = 5.0
WAITS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)  # after the first, second ... try; the last one from then on
GIVEN_UP = timedelta(hours=24)
KEPT = timedelta(days=7)  # messages that are done
AT_ONCE = 20  # messages in one go
URL, SECRET = "GRIDPILOT_ALARM_WEBHOOK", "GRIDPILOT_ALARM_WEBHOOK_SECRET"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where messages go. The address is a secret, too: many receivers know a sender by its path."""

    url: SecretStr
    secret: SecretStr

    def __post_init__(self) -> None:
        parts = address.parts(self.url.get_secret_value())
        if parts is None or "@" in parts.netloc or (parts.scheme == "http" and parts.hostname not in LOOPBACK):
            raise ConfigError(f"{URL} is no https address: expected https://HOST/PATH (http on this machine alone)")
        sign(self.secret.get_secret_value(), "", 0, b"", SECRET)  # says what is wrong with it

    def post(self, message_id: str, body: bytes, wall: datetime) -> str:
        """Why the message was not taken; empty where it was."""
        parts = urlsplit(self.url.get_secret_value())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        http = Http(f"{parts.scheme}://{parts.netloc}", Policy(TRY_S, TRY_S, 1, max_bytes=100_000), self.secret)
        signed = headers(self.secret.get_secret_value(), message_id, int(wall.timestamp()), body)
        try:
            http.call("POST", path, body=body, headers={**signed, "Content-Type": "application/json"}, retry=False)
        except GridPilotError as error:
            return _without(str(error), path, parts.path, parts.query)
        return ""


def _without(text: str, *secrets: str) -> str:
    """A message without the parts of an address that may be a key."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "") if len(secret) > 1 else text
    return text


def receiver(settings: Settings) -> Receiver | None:
    """The receiver of the settings, None where there is none; ConfigError where one is named but not usable."""
    if settings.alarm_webhook is None or not settings.alarm_webhook.get_secret_value():
        return None
    if settings.alarm_webhook_secret is None or not settings.alarm_webhook_secret.get_secret_value():
        raise ConfigError(f"{URL} is set without {SECRET}: give the secret that the receiver checks messages with")
    return Receiver(settings.alarm_webhook, settings.alarm_webhook_secret)


def deliver(ledger: Ledger, to: Receiver, wall: datetime) -> int:
    """Send what is due, oldest first, until one is not taken; returns how many were. LedgerError: try again later."""
    with ledger.reading() as connection:
        rows = [row for row in alarm_rows.waiting(connection, AT_ONCE) if row["next_at"] <= wall]
    for done, row in enumerate(rows):
        failure = to.post(f"alarm-{row['id']}-{row['created_at']:%Y%m%dT%H%M%S}", row["body"].encode(), wall)
        row["tries"] += 1
        row["status"] = alarm_rows.WAITING if failure else alarm_rows.DELIVERED
        row["next_at"] = wall + timedelta(seconds=WAITS_S[min(row["tries"], len(WAITS_S)) - 1])
        row["detail"] = failure[:300]
        if failure and wall - row["created_at"] >= GIVEN_UP:
            row["status"] = alarm_rows.FAILED
        _note(ledger, row, failure, wall)
        if failure:
            return done
    return len(rows)


def _note(ledger: Ledger, row: dict[str, object], failure: str, wall: datetime) -> None:
    """What came of a try, and how the receiver does."""
    with ledger.transaction() as work:
        alarm_rows.post(work.connection, row)
        alarm_rows.forget(work.connection, wall - KEPT)
        before = work.get_state(RECEIVER).value or {"failures": 0, "since": ""}
        if failure:
            since = before["since"] if before["failures"] else iso(wall)
            work.put_state(RECEIVER, {"failures": before["failures"] + 1, "since": since, "detail": failure[:300]})
        elif before["failures"] or not before["since"]:
            work.put_state(RECEIVER, {"failures": 0, "since": iso(wall), "detail": ""})
