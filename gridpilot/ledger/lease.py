"""Who may write set points: a lease with a fencing token.

The token rises with each new holder. A holder that was paused, lost its lease and woke up again still has its old
token, and every write that carries it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from gridpilot.errors import LeaseHeld
from gridpilot.ledger.chain import from_text, to_text
from gridpilot.ledger.schema import lease as table

PILOT = "pilot"  # the lease of the process that writes set points


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it is stored; it holds while `expires_at` is ahead."""

    name: str
    owner: str
    token: int
    expires_at: datetime


def read(connection: Connection, name: str, lock: bool = False) -> Lease | None:
    """The lease of that name, expired or not; None where it was never taken."""
    query = select(table).where(table.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Lease(row.name, row.owner, row.token, from_text(row.expires_at))


def acquire(connection: Connection, name: str, owner: str, ttl_s: float, now: datetime) -> int:
    """Take the lease and return a new token; LeaseHeld while another owner's has not expired."""
    held = read(connection, name, lock=True)
    until = to_text(now + timedelta(seconds=ttl_s))
    if held is None:
        connection.execute(insert(table).values(name=name, owner=owner, token=1, expires_at=until))
        return 1
    if held.owner != owner and held.expires_at > now:
        raise LeaseHeld(
            f"the {name} lease is held by {held.owner} until {held.expires_at:%H:%M:%S} UTC: stop that {name}, or wait"
        )
    return _take(connection, held, owner, until)


def seize(connection: Connection, name: str, owner: str, ttl_s: float, now: datetime) -> int:
    """Take the lease whoever holds it, and return a new token: what the holder writes from here on is refused."""
    held = read(connection, name, lock=True)
    if held is None:
        return acquire(connection, name, owner, ttl_s, now)
    return _take(connection, held, owner, to_text(now + timedelta(seconds=ttl_s)))


def _take(connection: Connection, held: Lease, owner: str, until: str) -> int:
    values = {"owner": owner, "token": held.token + 1, "expires_at": until}
    connection.execute(update(table).where(table.c.name == held.name).values(values))
    return held.token + 1


def require(connection: Connection, name: str, token: int, lock: bool = True) -> None:
    """LeaseHeld when `token` is not the newest one. An expired lease that nobody took is still good."""
    held = read(connection, name, lock)
    if held is None or held.token != token:
        newest = "none was ever given" if held is None else f"{held.owner} holds token {held.token}"
        raise LeaseHeld(f"token {token} of the {name} lease is stale ({newest}): stop this {name} and start it anew")


def extend(connection: Connection, name: str, token: int, until: datetime) -> None:
    """Move the end of the lease that `token` stands for; LeaseHeld when the token is stale."""
    require(connection, name, token)
    connection.execute(update(table).where(table.c.name == name).values(expires_at=to_text(until)))
