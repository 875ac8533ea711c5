"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("gridpilot/**/*.py"), *ROOT.glob("pages/*.py"), ROOT / "app.py"])
FORBIDDEN = ("unsafe_allow_html", "import pickle", "eval(", "TODO", "FIXME", "NotImplementedError")


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_source__size_and_vocabulary__within_the_rules(path: Path) -> None:
    text = path.read_text()
    longest = 150 if path.parent.name == "pages" else 600
    assert text.count("\n") <= longest, f"{path.name} is longer than {longest} lines"
    assert [word for word in FORBIDDEN if word in text] == []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= 60, f"{path.name}:{node.lineno} {node.name} has {size} lines"


@pytest.mark.parametrize("path", sorted(ROOT.glob("pages/*.py")), ids=lambda p: p.stem)
def test_page__imports__only_views_operate_and_the_console(path: Path) -> None:
    allowed = (
        "gridpilot.views",
        "gridpilot.operate",
        "gridpilot.console",
        "gridpilot.errors",
        "gridpilot.domain",
        "gridpilot.values",
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gridpilot"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert all(name.startswith(allowed) for name in names), f"{path.name} imports {names}"


def test_streamlit__imported_only_by_the_console() -> None:
    for path in ROOT.glob("gridpilot/**/*.py"):
        if path.parent.name == "console":
            continue
        tree = ast.parse(path.read_text())
        modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        assert not [m for m in modules if m.split(".")[0] in ("streamlit", "plotly", "pydeck")], path


def test_repository__files__under_one_megabyte() -> None:
    assert [p.name for p in _tracked() if p.exists() and p.stat().st_size > 1_000_000] == []


def test_locks__every_line__pinned_and_the_console_a_part_of_the_development_lock() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.strip() for line in lines if line.strip() and not line.startswith("#")}

    console, development = pins("requirements.txt"), pins("requirements-dev.txt")
    assert all("==" in line for line in development)
    assert console <= development
    direct = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = {line.split("==")[0] for line in console}
    assert {name.split(">")[0].split("=")[0].split("[")[0] for name in direct} <= locked


def test_package__import__does_no_heavy_work() -> None:
    heavy = ["cvxpy", "highspy", "numba", "streamlit", "pandas", "plotly", "scipy", "sklearn"]
    code = f"import json, sys, gridpilot.cli; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
