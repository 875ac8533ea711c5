"""Settings from the environment (and `.env`), and the site file.

Secrets are `SecretStr`: printing or logging a `Settings` shows stars.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gridpilot import address
from gridpilot.domain import (
    AuctionTerms,
    Battery,
    Cooling,
    CurtailmentTerms,
    Customer,
    FrequencyResponse,
    Job,
    MachineType,
    Operators,
    Reserve,
    RiskAppetite,
    Room,
    Rule,
    Simulation,
    Site,
    StressCase,
    Tenant,
)
from gridpilot.errors import ConfigError, DataError
from gridpilot.values import YEARS, usable

DATA = Path(__file__).parent / "data"
OPENAI_URL = "https://api.openai.com/v1"
MARA_URL = "https://mara-hackathon-api.onrender.com"
ENERGY_CHARTS_URL = "https://api.energy-charts.info"
GRIDSTATUS_URL = "https://api.gridstatus.io/v1"
MEMPOOL_URL = "https://mempool.space"

T = TypeVar("T")


class Settings(BaseSettings):
    """What the environment says. Every name has the prefix GRIDPILOT_."""

    model_config = SettingsConfigDict(env_prefix="GRIDPILOT_", env_file=".env", extra="ignore")

    # replay[:ERCOT/HUB], mara, csv:PATH, folder:PATH, energy-charts:ZONE, gridstatus:ISO/LOCATION; or a list
    source: str = "replay"
    hash_source: str = ""  # mempool: the hash price beside live energy prices; empty: the site file's figure
    site: Path | None = None  # a site file; None: the one that fits the source
    fleet: Path | None = None  # a fleet file: the sites that the console shows beside its own; None: no fleet
    db_url: SecretStr = SecretStr("")  # SQLAlchemy URL; empty: a SQLite file in the user's data folder
    head_file: Path | None = None  # where the ledger's newest hash is published; None: see docs/ledger.md
    mara_url: str = Field(default=MARA_URL, repr=False)
    mara_api_key: SecretStr | None = None
    gridstatus_api_key: SecretStr | None = None
    energy_charts_url: str = Field(default=ENERGY_CHARTS_URL, repr=False)
    gridstatus_url: str = Field(default=GRIDSTATUS_URL, repr=False)
    mempool_url: str = Field(default=MEMPOOL_URL, repr=False)
    curtail_secret: SecretStr | None = None  # of signed curtailment calls; None: there is no such door
    alarm_webhook: SecretStr | None = None  # https address that alarms are told to; its path may be a secret
    alarm_webhook_secret: SecretStr | None = None  # what those messages are signed with
    metrics_token: SecretStr | None = None  # bearer token of /metrics; None: see docs/monitoring.md
    operators: str = ""  # e-mail addresses of who may operate after signing in, comma separated
    approvers: str = ""  # and of who may approve what an operator proposed, too
    refit: bool = True  # fit the ensemble behind the scenes; off: the quick models alone
    llm_model: str = "gpt-4.1-mini"  # asked where OPENAI_API_KEY or OPENAI_BASE_URL is set; off: never
    llm_budget_s: float = Field(default=20.0, ge=0.1, le=300.0)  # for a whole answer
    replay_start: datetime | None = None  # where the replay clock begins; None: the built-in day
    replay_speed: float = Field(default=60.0, ge=0.0, le=3600.0)  # replayed seconds per second; 0: by hand

    @field_validator("source", "site", "fleet", "head_file", mode="before")
    @classmethod
    def _given(cls, value: object, about: ValidationInfo) -> object:
        """An empty path would be the folder that we run in."""
        if isinstance(value, str) and not value.strip():
            raise ConfigError(f"{_variable(about.field_name)} is empty: give it a value, or unset it")
        return value

    @field_validator("replay_start")
    @classmethod
    def _start(cls, value: datetime | None) -> datetime | None:
        if value is not None and not usable(value.replace(tzinfo=value.tzinfo or UTC)):
            raise ConfigError(f"GRIDPILOT_REPLAY_START is {value.isoformat()}: expected a time of {YEARS}")
        return value

    @field_validator("mara_url", "energy_charts_url", "gridstatus_url", "mempool_url")
    @classmethod
    def _server(cls, value: str, about: ValidationInfo) -> str:
        """It may have a password, so that no message repeats it."""
        return address.server(_variable(about.field_name), value)

    def database_url(self) -> str:
        """The SQLAlchemy URL in force, with its password; creates the folder of the default SQLite file."""
        url = self.db_url.get_secret_value()
        if not url:
            url = f"sqlite:///{data_folder('name another place by GRIDPILOT_DB_URL') / 'gridpilot.db'}"
        if self.head_file is None:
            return url
        return f"{url}{'&' if '?' in url else '?'}head_file={quote(str(self.head_file.absolute()))}"

    def people(self, role: str) -> tuple[str, ...]:
        """The addresses of `operators` or `approvers`."""
        return tuple(name.strip() for name in str(getattr(self, role)).split(",") if name.strip())

    def site_file(self) -> Path:
        """The site file in force."""
        if self.site is not None:
            return self.site
        return DATA / ("site-mara.toml" if self.source == "mara" else "site-default.toml")


def data_folder(otherwise: str, *parts: str) -> Path:
    """A folder of the user's data, created; ConfigError where it cannot be, with what to do `otherwise`."""
    folder = Path(platformdirs.user_data_dir("gridpilot"), *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be made: {error.strerror}; {otherwise}") from None
    return folder


def _variable(*names: object) -> str:
    """The environment's variable of a setting."""
    return "GRIDPILOT_" + "_".join(str(name) for name in names).upper()


class _ModelServer(BaseSettings):
    """OPENAI_API_KEY and OPENAI_BASE_URL, which every OpenAI-compatible tool reads."""

    model_config = SettingsConfigDict(env_prefix="OPENAI_", env_file=".env", extra="ignore")

    api_key: SecretStr = SecretStr("")
    base_url: str = ""  # empty: OpenAI's own


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model on an OpenAI-compatible server."""

    name: str
    base_url: str = field(repr=False)  # empty: OpenAI's own; it may have a password
    api_key: SecretStr
    budget_s: float

    def __post_init__(self) -> None:
        address.server("OPENAI_BASE_URL", self.address, "one as http://127.0.0.1:8080/v1")

    @property
    def address(self) -> str:
        """Where it is asked."""
        return self.base_url or OPENAI_URL

    @property
    def host(self) -> str:
        """The server's name, for a screen."""
        parts = urlsplit(self.address)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def language_model(settings: Settings) -> LanguageModel | None:
    """The model that explains; None where none is connected, or GRIDPILOT_LLM_MODEL is off."""
    server = _read(_ModelServer)
    key, url, name = server.api_key.get_secret_value().strip(), server.base_url.strip(), settings.llm_model.strip()
    if name.lower() in ("", "off") or not (key or url):
        return None
    return LanguageModel(name, url, SecretStr(key), settings.llm_budget_s)


TABLES: dict[str, type[Any]] = {
    "auction": AuctionTerms,
    "battery": Battery,
    "cooling": Cooling,
    "frequency": FrequencyResponse,
    "operators": Operators,
    "reserve": Reserve,
    "risk": RiskAppetite,
    "room": Room,
    "simulation": Simulation,
}
ROWS: dict[str, type[Any]] = {
    "machines": MachineType,
    "jobs": Job,
    "tenants": Tenant,
    "customers": Customer,
    "rules": Rule,
    "curtailments": CurtailmentTerms,
    "stress": StressCase,
}


def _read(kind: type[T]) -> T:
    """Settings of the environment and of `.env`; ConfigError where that file cannot be read."""
    try:
        return kind()
    except UnicodeDecodeError as error:
        where = Path(".env").absolute()
        raise ConfigError(f"{where} is not UTF-8 text (byte {error.start}): save it in UTF-8, or remove it") from None
    except OSError as error:
        raise ConfigError(f"{Path('.env').absolute()} cannot be read: {error.strerror}") from None


def load_settings() -> Settings:
    """Settings in force; ConfigError names the variable that is wrong and what it may be."""
    try:
        return _read(Settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = _variable(*first["loc"])
        raise ConfigError(f"{name} is {first.get('input')!r}: {first['msg'].lower()}; correct or unset it") from None


def load_site(path: Path) -> Site:
    """Read a site file (TOML). A key that is left out has the default site's value.

    Where the file names its own `machines` (an empty list too), jobs and tenants that it leaves out are none.
    """
    default = read_toml(DATA / "site-default.toml")
    given = read_toml(path)
    if "machines" in given:
        default = {k: v for k, v in default.items() if k not in ROWS}
    merged = {**default, **given}
    for table in ("grid", "prices", *TABLES):
        merged[table] = {**default.get(table, {}), **_table(given, table, path)}
    try:
        return _site(merged, path)
    except DataError as error:
        raise ConfigError(f"{path}: {error}") from None


def site_from_json(body: dict[str, Any]) -> Site:
    """A site from its JSON form (`domain.to_jsonable`), as the ledger keeps it."""
    built: dict[str, Any] = {k: tuple(kind(**_row(row)) for row in body.get(k, [])) for k, kind in ROWS.items()}
    built |= {k: kind(**_row(body.get(k, {}))) for k, kind in TABLES.items()}
    return Site(**{**body, **built})


def read_toml(path: Path, what: str = "site file") -> dict[str, Any]:
    """A TOML file, or else a ConfigError that says what is wrong with it."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ConfigError(f"{what} {path} has more than {MOST_BYTES / 1e6:.0f} MB: give the path of a TOML file")
        return tomllib.loads(raw.decode())
    except FileNotFoundError:
        raise ConfigError(f"{what} {path} does not exist: give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply: expected tables and lists of a few levels") from None
    except ValueError as error:  # a NUL in the name, a number of thousands of digits
        raise ConfigError(f"{what} {str(path)!r} cannot be read: {error}") from None
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}") from None


def _table(raw: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [{name}] is {_seen(table)}, expected a table")
    return table


GRID = {"import_kw", "export_kw", "ramp_kw_per_min", "stagger_kw", "demand_usd_per_kw"}


def _site(raw: dict[str, Any], path: Path) -> Site:
    plain = {"name", "timezone", "country", "latitude", "longitude"}
    only(raw, {"grid", "prices", *TABLES, *ROWS} | plain, "the site file", path)
    only(raw["grid"], GRID, "[grid]", path)
    only(
        raw["prices"],
        {
            *("usd_per_eur", "token_usd_per_mtok", "hash_usd_per_ph_day", "hash_unit", "token_unit"),
            *("floor_usd_per_mwh", "cap_usd_per_mwh"),
        },
        "[prices]",
        path,
    )
    zone = raw.get("timezone", "UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # the last for a folder, and a name too long
        raise ConfigError(f"{path}: timezone is {_seen(zone)}, expected an IANA name like Europe/Amsterdam") from None
    return _build(
        Site,
        {
            **{k: raw[k] for k in plain if k in raw},
            **raw["grid"],
            **raw["prices"],
            **{name: _build(kind, _row(raw[name]), f"[{name}]", path) for name, kind in TABLES.items()},
            **{name: _rows(kind, raw, name, path) for name, kind in ROWS.items()},
        },
        "the site file",
        path,
    )


def _rows(kind: type[T], raw: dict[str, Any], name: str, path: Path) -> tuple[T, ...]:
    rows = raw.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: {name} is not a list of tables; write [[{name}]] or {name} = []")
    return tuple(_build(kind, _row(row), f"[[{name}]] number {i}", path) for i, row in enumerate(rows, 1))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """TOML lists become tuples, and a deadline given as text becomes a time."""
    out = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    deadline = row.get("deadline")
    if isinstance(deadline, str):
        try:
            out["deadline"] = datetime.fromisoformat(deadline)
        except ValueError:
            raise DataError(f"deadline is {_seen(deadline)}, expected ISO 8601 like 2024-06-01T18:00:00Z") from None
    return out


def _build(kind: type[T], values: dict[str, Any], where: str, path: Path) -> T:
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    only(values, set(known), where, path)
    for key, value in values.items():
        wrong = _wrong(key, value, str(known[key].type))
        if wrong:
            raise ConfigError(f"{path}: {where}: {wrong}")
    needed = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ConfigError(f"{path}: {where} has no {missing[0]!r}: it needs {', '.join(needed)}")
    return kind(**{key: _float(value, str(known[key].type)) for key, value in values.items()})


# --- what a value may be ---------------------------------------------------------------------

MOST_BYTES = 10_000_000  # of a TOML file
MOST = {"kw": 1e7, "kwh": 1e8, "w": 1e8}  # by the unit at a key's end: ten gigawatts
MOST_USD = 1e6  # for each kWh, MWh, kW, ...
MOST_NUMBER = 1e9  # anything else, as a count of machines and a rate
LONGEST_TEXT = 300  # characters
LONGEST_SEEN = 80  # characters of a value that a message repeats


def _wrong(key: str, value: Any, wanted: str) -> str:
    """What is wrong with a value of the file, by the type of its field; empty where nothing is."""
    if wanted.startswith("Mapping") and isinstance(value, dict):
        return next(filter(None, (_wrong(f"{key}.{name}", number, "float") for name, number in value.items())), "")
    fits, expected = next((rule for kind, rule in KINDS.items() if wanted.startswith(kind)), (None, ""))
    if fits is None:  # a table or rows, built before
        return ""
    if not fits(value):
        return f"{key} is {_seen(value)}, expected {expected}"
    numbers = value if isinstance(value, tuple) else (value,) if _number(value) else ()
    return next(filter(None, (_too_much(key, number) for number in numbers)), "")


def _too_much(key: str, value: float) -> str:
    """A number beyond all that a site could have: nothing could be planned with it."""
    most = MOST_USD if "usd_per" in key else MOST.get(key.partition(".")[0].rpartition("_")[2], MOST_NUMBER)
    if -most <= value <= most:
        return ""
    expected = f"at most {most:,.0f}" if value > most else f"no less than -{most:,.0f}" if value < 0 else "a number"
    return f"{key} is {_seen(value)}, expected {expected}"


def _seen(value: Any) -> str:
    """A value of the file in a message, however long it is."""
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:
        return "a number of thousands of digits"
    text = value.isoformat() if isinstance(value, (date, time)) else text
    return text if len(text) <= LONGEST_SEEN else f"{text[:LONGEST_SEEN]}... ({len(text)} characters)"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any) -> bool:
    """Whether it is a time that can be reckoned with; that it has a zone is asked for by who takes it."""
    return isinstance(value, datetime) and (value.tzinfo is None or usable(value))


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # how a field's type begins: what fits, and its words
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "str": (
        lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT,
        f"text in quotes, of at most {LONGEST_TEXT} characters",
    ),
    "float": (_number, "a number"),
    "int": (_whole, "a whole number"),
    "datetime": (_moment, f"a time with a zone of {YEARS}, as 2024-06-01T18:00:00Z"),
    "tuple[float": (lambda value: isinstance(value, tuple) and all(map(_number, value)), "a list of numbers"),
    "tuple[int": (
        lambda value: isinstance(value, tuple) and bool(value) and all(map(_whole, value)),
        "a list of whole numbers, one at least",
    ),
    "Mapping": (lambda value: False, "a table of numbers, as { inference = 300 }"),
}


def _float(value: Any, wanted: str) -> Any:
    """Whole numbers in TOML where a fraction is possible: 1000 is 1000.0."""
    if wanted.startswith("float") and value is not None:
        return float(value)
    return tuple(float(v) for v in value) if wanted.startswith("tuple[float") else value


def only(values: dict[str, Any], allowed: set[str], where: str, path: Path) -> None:
    """ConfigError where a key is none of those that are known."""
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise ConfigError(
            f"{path}: {where} has unknown key {unknown[0]!r}; expected one of {', '.join(sorted(allowed))}"
        )
