"""The fleet file: the sites that stand side by side on one console, each with its ledger and its source."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gridpilot.config import DATA, Settings, data_folder, load_site, only, read_toml
from gridpilot.errors import ConfigError, InputError, LedgerError
from gridpilot.ledger.engine import SQLITE, identity, parsed_url, sqlite_path
from gridpilot.market.source import open_source


@dataclass(frozen=True, slots=True)
class FleetSite:
    """A site of a fleet: its ledger, and what its pilot is started with."""

    name: str
    ledger: SecretStr  # SQLAlchemy URL
    site: Path | None = None
    source: str = ""  # as GRIDPILOT_SOURCE; empty: what the settings say
    run: bool = True  # whether `up --fleet` runs its pilot
    replay_start: datetime | None = None

    def settings(self, ours: Settings) -> Settings:
        """The settings of this site's pilot, from the console's own."""
        return ours.model_copy(
            update={
                "db_url": self.ledger,
                "site": self.site,
                "source": self.source or ours.source,
                "replay_start": self.replay_start or ours.replay_start,
                "head_file": None,
            }
        )

    def environment(self) -> dict[str, str]:
        """What its processes are told beside our own environment. It has the ledger's password: never shown."""
        told = {"GRIDPILOT_DB_URL": self.ledger.get_secret_value(), "GRIDPILOT_SOURCE": self.source}
        if self.site is not None:
            told["GRIDPILOT_SITE"] = str(self.site)
        if self.replay_start is not None:
            told["GRIDPILOT_REPLAY_START"] = self.replay_start.isoformat()
        return {name: value for name, value in told.items() if value}


FLEET_KEYS = {"name", "site", "source", "ledger", "run"}
LONGEST_NAME = 40
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_fleet(path: Path) -> tuple[FleetSite, ...]:
    """Read a fleet file (TOML): `[[sites]]` with a `name` each; ConfigError says which of them is wrong, and how."""
    raw = read_toml(path, "fleet file")
    only(raw, {"sites", "replay_start"}, "the fleet file", path)
    rows = raw.get("sites")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: a fleet has at least one [[sites]] table")
    start = raw.get("replay_start")
    if start is not None and not (isinstance(start, datetime) and start.tzinfo is not None):
        raise ConfigError(f"{path}: replay_start is {start!r}, expected a time with a zone, as 2022-12-23T20:00:00Z")
    sites = tuple(_fleet_site(row, f"[[sites]] number {i}", path, start) for i, row in enumerate(rows, 1))
    names: list[Any] = [unicodedata.normalize("NFKC", site.name).casefold() for site in sites]
    for what, found in (("name", names), ("ledger", [_identity(site) for site in sites])):
        twice = [sites[i].name for i, value in enumerate(found) if found.index(value) < i]
        if twice:
            raise ConfigError(f"{path}: site {twice[0]!r} has the {what} of another: give each site one of its own")
    return sites


def _fleet_site(row: dict[str, Any], where: str, path: Path, start: datetime | None) -> FleetSite:
    only(row, FLEET_KEYS, where, path)
    for key, value in row.items():
        wanted, told = (bool, "true or false") if key == "run" else (str, "text in quotes")
        if not isinstance(value, wanted):
            shown = "" if key == "ledger" else f" {value!r},"
            raise ConfigError(f"{path}: {where}: {key} is{shown} expected {told}")
    name = row.get("name", "").strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"{path}: {where}: name is {name[:60]!r}, expected 1 to {LONGEST_NAME} printable characters")
    file = path.absolute().parent / row["site"] if "site" in row else None
    said = name if file is None else load_site(file).name
    if said != name:
        raise ConfigError(f"{path}: site {name!r}: its site file is of {said!r}; give both the same name")
    url = SecretStr(_fleet_ledger(row.get("ledger", ""), name, path))
    _check_source(row, file, start, f"{path}: site {name!r}")
    return FleetSite(name, url, file, row.get("source", ""), row.get("run", True), start)


def _check_source(row: dict[str, Any], file: Path | None, start: datetime | None, where: str) -> None:
    """Refuse a source that no pilot could open, whatever keys this process has."""
    if "source" not in row:
        return
    site = load_site(file or DATA / "site-default.toml")
    try:
        open_source(
            row["source"], Settings.model_construct(gridstatus_api_key=SecretStr("-"), replay_start=start), site
        )
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None


def _fleet_ledger(given: str, name: str, path: Path) -> str:
    """A URL or a file beside the fleet file, with ${NAME} from the environment; or one in the user's data folder.

    A URL may have a password: no message repeats it, and a $ alone is a part of it.
    """
    if not given:
        folder = data_folder(f"{path}: give site {name!r} a `ledger`", "fleet")
        return f"sqlite:///{folder / (re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'site')}.db"
    called, rest = f"{path}: site {name!r}: its ledger", VARIABLE.sub("", given)
    if not all(os.environ.get(variable) for variable in VARIABLE.findall(given)):
        raise ConfigError(f"{called} names a variable that is not set: set it, or write the URL")
    if "${" in rest or ("$" in rest and "@" not in rest):
        raise ConfigError(f"{called} has a $ that begins no variable: write one as ${{NAME}}")
    told = VARIABLE.sub(lambda found: os.environ[found[1]], given)
    url = told if ":" in told or "@" in told else f"sqlite:///{(path.parent / told).absolute()}"
    try:
        parsed = parsed_url(url, called)
        if parsed.drivername in SQLITE:
            mode = sqlite_path(parsed).stat().st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{called} is a folder or a device: expected a SQLite file")
    except LedgerError as error:
        raise ConfigError(str(error) if called in str(error) else f"{called}: {error}") from None
    except (FileNotFoundError, PermissionError):  # the first is not there yet, the second is told on the screen
        pass
    except OSError as error:
        raise ConfigError(f"{called} cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL
        raise ConfigError(f"{called} has a character that no file's name has") from None
    return url


def _identity(site: FleetSite) -> tuple[str, ...]:
    """What tells its ledger from others."""
    return identity(parsed_url(site.ledger.get_secret_value()))
