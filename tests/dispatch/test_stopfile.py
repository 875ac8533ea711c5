"""The emergency stop's file: written whole, read whatever is in it, absorbed by the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
import pytest

from gridpilot.dispatch import override, stopfile
from gridpilot.errors import LedgerError
from gridpilot.ledger.store import Ledger

T0 = datetime(2026, 6, 12, 14, tzinfo=UTC)
SAID = {"author": "ola", "reason": "smoke", "at": T0}
POSTGRES = "postgresql+psycopg://pilot:hunter2@db.example/gridpilot"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, in the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Path(platformdirs.user_data_dir("gridpilot"))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    yield f"sqlite:///{tmp_path / 'ledger.db'}"


def test_press__beside_a_sqlite_ledger__whole_and_read_back(url: str, tmp_path: Path) -> None:
    assert stopfile.pressed(url) is None
    assert stopfile.press(url, **SAID) == tmp_path / "ledger.db.estop"
    assert stopfile.pressed(url) == {
        "latched": True,
        "author": "ola",
        "reason": "smoke",
        "at": "2026-06-12T14:00:00Z",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db.estop"], "no half-written file is left"


def test_press__again__the_first_press_stays(url: str) -> None:
    stopfile.press(url, **SAID)
    stopfile.press(url, author="bea", reason="me too", at=T0)
    said = stopfile.pressed(url)
    assert said is not None and said["author"] == "ola"


def test_press__another_database__in_the_data_folder_and_no_password_in_its_name(data_folder: Path) -> None:
    path = stopfile.press(POSTGRES, **SAID)
    assert path.parent == data_folder
    assert stopfile.pressed(POSTGRES) is not None
    assert stopfile.pressed(POSTGRES.replace("hunter2", "other")) is not None, "the same ledger"
    assert stopfile.pressed(POSTGRES.replace("/gridpilot", "/another")) is None
    assert "hunter2" not in path.name + path.read_text()


def test_press__folder_that_cannot_be_written__in_the_data_folder(data_folder: Path) -> None:
    url = "sqlite:////proc/ledger.db"
    assert stopfile.press(url, **SAID).parent == data_folder
    assert stopfile.pressed(url) is not None


def test_press__nowhere_to_write__one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/none")
    with pytest.raises(LedgerError, match="stop the machines by hand"):
        stopfile.press("sqlite:////proc/ledger.db", **SAID)


ODD = b'{"author": "x", "reason": "y", "at": "%s"}'


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b"\xff\xfe", b'{"author": 3, "reason": "", "at": "soon"}', b"[" * 60_000, b"[" * 200_000,
     ODD % b"0001-01-01T00:00:00+14:00", ODD % b"9999-12-31T23:59:59-14:00", ODD % b"0001-01-02T00:00:00+00:00"],
)  # fmt: skip
def test_pressed__whatever_is_in_the_file__still_means_stop(url: str, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "ledger.db.estop").write_bytes(body)
    said = stopfile.pressed(url)
    assert said is not None and said["latched"] and said["author"] == "unknown"
    with Ledger.open(url) as ledger:
        assert stopfile.absorb(ledger, url)
        assert override.stopped(ledger) is not None


@pytest.mark.parametrize("kind", ["folder", "link that leads nowhere", "link to itself"])
def test_pressed__no_file_but_its_name_is_taken__stop_until_it_is_released(url: str, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "ledger.db.estop"
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(place if kind == "link to itself" else tmp_path / "none")
    assert stopfile.pressed(url) is not None
    with Ledger.open(url) as ledger:
        assert stopfile.absorb(ledger, url)
        assert override.stopped(ledger) is not None
    assert stopfile.pressed(url) is None


def test_absorb__folder_with_something_in_it__site_stays_stopped_and_says_what_to_do(url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db.estop" / "more").mkdir(parents=True)
    with Ledger.open(url) as ledger:
        with pytest.raises(LedgerError, match=r"cannot be removed .*remove it by hand"):
            stopfile.absorb(ledger, url)
        assert override.stopped(ledger) is not None


def test_absorb__file__becomes_the_ledgers_latch_once(url: str) -> None:
    with Ledger.open(url) as ledger:
        assert not stopfile.absorb(ledger, url)
        stopfile.press(url, **SAID)
        assert stopfile.absorb(ledger, url)
        latched = override.stopped(ledger)
        assert latched is not None and (latched["author"], latched["reason"]) == ("ola", "smoke")
        assert stopfile.pressed(url) is None
        assert not stopfile.absorb(ledger, url)
        assert len(ledger.commands()) == 1


def test_F56_absorb__ledger_still_locked__file_stays(url: str) -> None:
    stopfile.press(url, **SAID)
    with Ledger.open(url) as holder, Ledger.open(url, busy_timeout_s=0.1) as ledger, holder.transaction():
        with pytest.raises(LedgerError, match="locked"):
            stopfile.absorb(ledger, url)
        assert stopfile.pressed(url) is not None
