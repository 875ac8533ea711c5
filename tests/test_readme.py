"""The README and the reference are true where a machine can check it."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from gridpilot.cli import main
from gridpilot.config import ROWS, TABLES, Settings, load_site

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def test_readme__pictures_and_links__are_in_the_repository() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(named) >= 5
    assert [path for path in named if not path.startswith("http") and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_readme__make_command__would_run(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_reference__commands__are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    offered = set(re.findall(r"^    ([a-z-]+)\s", capsys.readouterr().out, re.MULTILINE))
    table = REFERENCE[REFERENCE.index("## Commands") : REFERENCE.index("## Exit codes")]
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)) == offered
    named = README[README.index("## Command line") : README.index("## Documentation")]
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", named)) <= offered


@pytest.mark.parametrize("words", re.findall(r"^\.venv/bin/python -m gridpilot (.+)$", README, re.MULTILINE))
def test_readme__command__runs(words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if words == "mara-server":  # runs until it is stopped
        words += " --help"
    monkeypatch.setenv("GRIDPILOT_DB_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        assert main(words.split()) == 0
    except SystemExit as ended:
        assert ended.code == 0 and "--help" in words


def test_commands__shown_to_a_person__run_in_a_fresh_clone() -> None:
    """`python` alone is none that has the packages."""
    bare = re.compile(r"(?<![/\w])python -m gridpilot")
    pages = {str(path): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))}
    assert [name for name, text in pages.items() if bare.search(text)] == []
    for path in (*ROOT.glob("gridpilot/**/*.py"), *ROOT.glob("pages/*.py")):
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        shown = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in said]
        assert [n.value for n in shown if isinstance(n.value, str) and bare.search(n.value)] == [], path


def test_make_console__first_start__says_that_it_installs() -> None:
    made = subprocess.run(["make", "-n", "-B", "console"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    said = made.index("Installing the pinned packages into .venv, about a minute ...")
    assert made.index("-m venv") < said < made.index("pip install") < made.index("streamlit run app.py")


def test_reference__variables__are_those_of_the_settings() -> None:
    settings = {f"GRIDPILOT_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"`(GRIDPILOT_[A-Z_]+)`", REFERENCE)) == settings
    assert set(re.findall(r"\bGRIDPILOT_[A-Z_]+", README)) <= settings


def test_readme__pages__are_those_of_the_console() -> None:
    table = README[README.index("## What each page answers") : README.index("## Connect")]
    named = {name.lower() for name in re.findall(r"^\| ([A-Z]\w+) \|", table, re.MULTILINE)}
    assert named == {path.stem for path in ROOT.glob("pages/*.py")}


def test_readme__scripts__exist() -> None:
    named = re.findall(r"`((?:benchmarks|scripts)/\w+\.py)`", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_site_doc__all_its_examples_together__are_a_site_file(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "site.md").read_text(), re.DOTALL)
    path = tmp_path / "site.toml"
    path.write_text("\n".join(blocks))
    site = load_site(path)
    assert (site.customers[0].name, site.rules[0].above, site.room.planned) == ("acme", 3, True)
    given = {key for block in blocks for key in re.findall(r"^(\w+) =", block, re.MULTILINE)}
    known = {field.name for kind in (*TABLES.values(), *ROWS.values()) for field in dataclasses.fields(kind)} - {"note"}
    assert sorted(known - given - {"deadline"}) == []
