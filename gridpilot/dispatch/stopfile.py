"""The emergency stop where the ledger cannot be written: a file that the pilot looks at first in every tick.

It lies beside a SQLite ledger as `<file>.estop`, for another database in this user's data folder, and there too where
the ledger's own folder cannot be written. It is on disk, whole, when `press` returns. `absorb` makes it the ledger's
latch as soon as the ledger can be written again, and then removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gridpilot.dispatch import override
from gridpilot.dispatch.actor import LOCAL, VIEWER, Actor
from gridpilot.dispatch.journal import CommandStore
from gridpilot.errors import LedgerError
from gridpilot.foreign import shown
from gridpilot.values import iso, usable

MOST_BYTES = 64 * 1024  # of a file that anything may have put there


def press(url: str, *, author: str, reason: str, at: datetime) -> Path:
    """Latch the stop of the ledger at `url` in a file; the first press stays. LedgerError where none can be written."""
    there = next(_found(url), None)
    if there is not None:
        return there
    body = json.dumps({"latched": True, "author": author, "reason": reason, "at": iso(at)})
    trouble = ""
    for path in _places(url):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, body)
        except OSError as error:
            trouble = f"{path}: {error.strerror}"
        else:
            return path
    raise LedgerError(f"the emergency stop could not be latched in a file ({trouble}): stop the machines by hand")


def pressed(url: str) -> Mapping[str, Any] | None:
    """Who pressed it, why and when, as `override.stopped` says it; None where there is no file.

    A file that cannot be read still means stop.
    """
    path = next(_found(url), None)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(MOST_BYTES))
        moment = datetime.fromisoformat(body["at"]).astimezone(UTC)
        if not usable(moment):
            raise ValueError("no time at which anybody pressed it")
        at = iso(moment)
        author, reason = str(body["author"]), str(body["reason"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        at, author, reason = iso(_written(path)), "unknown", f"the file {path.name} is there"
    return {
        "latched": True,
        "author": shown(author) or "unknown",
        "reason": shown(reason) or "none given",
        "at": at,
    }


def absorb(ledger: CommandStore, url: str) -> bool:
    """Make the file the ledger's latch and remove it; True where there was one. LedgerError: it stays."""
    body = pressed(url)
    if body is None:
        return False
    at = datetime.fromisoformat(body["at"])
    command = override.Command(at, body["author"], body["reason"], "estop", {}, at, 0)
    override.submit(ledger, command, Actor(body["author"], VIEWER, LOCAL), wall=at)
    for path in _found(url):
        _remove(path)
    return True


def _remove(path: Path) -> None:
    try:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise LedgerError(
            f"the stop file {path} cannot be removed ({error.strerror}): the site stays stopped, remove it by hand"
        ) from None


def _found(url: str) -> Iterator[Path]:
    return (path for path in _places(url) if _is_there(path))


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)  # a link that leads nowhere is a stop, too


def _written(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)


def _places(url: str) -> list[Path]:
    """Where the file may lie, the best place first. The name tells ledgers apart, and no password."""
    try:
        parsed = make_url(url).set(query={})
        name = parsed.render_as_string(hide_password=True)
        beside = parsed.database if parsed.get_backend_name() == "sqlite" else None
    except (ArgumentError, ValueError):
        name, beside = "unknown", None
    mark = hashlib.sha256(name.encode()).hexdigest()[:16]
    elsewhere = Path(platformdirs.user_data_dir("gridpilot")) / f"{mark}.estop"
    if not beside:
        return [elsewhere]
    file = Path(beside.removeprefix("file:"))
    return [file.with_name(file.name + ".estop"), elsewhere]


def _write(path: Path, body: str) -> None:
    """Whole or not at all, and on disk: the name too."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
