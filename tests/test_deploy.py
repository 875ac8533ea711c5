"""The examples in deploy/: what a machine can check of them without systemd or a container engine at work."""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gridpilot.cli import _parser
from gridpilot.config import Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = ("pilot", "watchdog", "watch", "console")
VARIABLES = {f"GRIDPILOT_{name.upper()}" for name in Settings.model_fields} | {"GRIDPILOT_NO_PILOT"}


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Section -> key -> values; a key may come several times."""

    class Several(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key, [*self.get(key, []), *value] if isinstance(value, list) else value)

    parser = configparser.RawConfigParser(dict_type=Several, strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return {name: {k: v.split("\n") for k, v in parser.items(name)} for name in parser.sections()}


def is_a_command(words: list[str]) -> bool:
    """Whether `python -m gridpilot WORDS` would be understood, or it starts the console."""
    if words[:2] == ["-m", "streamlit"]:
        return words[2:4] == ["run", "app.py"]
    parsed: argparse.Namespace = _parser().parse_args(words[2:])
    return words[:2] == ["-m", "gridpilot"] and parsed.command in ("pilot", "watchdog", "watch")


def test_units__one_for_each_process() -> None:
    assert [path.stem for path in UNITS] == sorted(f"gridpilot-{name}" for name in OURS)


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_unit__starts_ours_restarts_it_always_and_gives_it_little(path: Path) -> None:
    service = unit(path)["Service"]
    python, *words = service["ExecStart"][0].split()
    assert python == "/opt/gridpilot/.venv/bin/python" and is_a_command(words)
    assert service["Restart"] == ["always"]
    assert 10 <= int(service["TimeoutStopSec"][0]) <= 30, "longer than a pilot takes to end"
    assert service["User"] == ["gridpilot"]
    hardened = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes"}
    assert {key: service[key] for key in hardened} == {key: [value] for key, value in hardened.items()}
    given = {line.partition("=")[0] for line in service["Environment"]}
    assert {name for name in given if name.startswith("GRIDPILOT_")} <= VARIABLES
    assert ("GRIDPILOT_NO_PILOT" in given) == (path.stem == "gridpilot-console")


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_unit__systemd__finds_nothing_wrong(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    here = tmp_path / path.name
    here.write_text(path.read_text().replace("/opt/gridpilot/.venv/bin/python", sys.executable))
    found = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    about_ours = [line for line in found.stderr.splitlines() if "gridpilot" in line]
    assert (found.returncode, about_ours) == (0, [])


def test_environment_file__names_only_what_is_read() -> None:
    lines = (DEPLOY / "gridpilot.env").read_text().splitlines()
    assert set(re.findall(r"^(?:# )?(GRIDPILOT_\w+)=", "\n".join(lines), re.MULTILINE)) <= VARIABLES
    assert "GRIDPILOT_MARA_API_KEY=" in "\n".join(lines).replace("# ", "")


def test_compose__all_processes_and_their_database_each_with_a_health_check() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"db", *OURS}
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "always"
    for name in OURS:
        service = services[name]
        assert service["command"][0] == "python" and is_a_command(service["command"][1:]), name
        assert service["depends_on"] == {"db": {"condition": "service_healthy"}}
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        ours = {key for key in service["environment"] if key.startswith("GRIDPILOT_")}
        assert ours <= VARIABLES
        check = service["healthcheck"]["test"][2:]
        assert check[0] == "-c" or is_a_command(check), name
    assert services["console"]["environment"]["GRIDPILOT_NO_PILOT"] == "1"
    assert services["console"]["environment"]["PGPASSWORD"] == services["pilot"]["environment"]["PGPASSWORD"]


def test_compose__secrets__none_in_the_file_and_only_the_console_on_this_machine_alone() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|KEY|SECRET|TOKEN|WEBHOOK", key):
                assert value is None or value.startswith("${GRIDPILOT_DB_PASSWORD:?"), key
        assert "@" not in str(service["environment"].get("GRIDPILOT_DB_URL", "")).replace("//gridpilot@db/", "")
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "console": ["127.0.0.1:8501:8501"]
    }


def test_compose__console__starts_with_a_sign_in_only() -> None:
    console = COMPOSE["services"]["console"]
    assert "--secrets.files=/run/secrets/secrets.toml" in console["command"]
    assert console["secrets"] == [{"source": "sign-in", "target": "secrets.toml"}]
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"deploy/secrets.toml", ".env"} <= set(ignored)


def test_dockerfile__what_it_copies__is_there_and_passes_the_ignore_file() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {"app.py", "pages", "gridpilot", ".streamlit", "requirements.txt"} <= names
    assert [name for name in names if not (ROOT / name).exists()] == []
    passed = {
        line[1:].partition("/")[0]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
        if line.startswith("!")
    }
    assert names == passed


def test_deploy__in_step_with_the_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert [path.name for path in DEPLOY.iterdir() if path.suffix != ".dockerignore" and path.name not in guide] == []
