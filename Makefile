# Three commands do everything: `make console` starts the console, `make demo` a guided demonstration, `make test` passes
# the tests. Each creates .venv and installs the pinned lock on its first run, and installs nothing on the next.

PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin

# The console and the tests start many processes: what one of them compiles serves the others.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: console demo test soak quick lint types unit browser format lock screenshots clean

console: .venv/console.stamp
	$(BIN)/streamlit run app.py --server.port $(PORT)

demo: .venv/console.stamp
	$(BIN)/python -m gridpilot demo --port $(PORT)

# The types are checked while tests wait for what they started.
test: lint
	@$(MAKE) --no-print-directory -j2 types unit

# Tests run side by side: one BLAS thread each.
test soak quick unit browser: export OPENBLAS_NUM_THREADS = 1

quick: lint types .venv/dev.stamp
	$(BIN)/pytest -q -n auto -m "not slow and not browser"

# The tests that repeat themselves, at length: every kill 50 times, 2,000 random auctions of each shape.
soak: export GRIDPILOT_SOAK_ROUNDS = 50
soak: .venv/dev.stamp
	$(BIN)/pytest -n auto tests/fault
	$(BIN)/pytest -m long
	GRIDPILOT_SOAK_ROUNDS=250 $(BIN)/pytest -n auto tests/auction/test_exact.py

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: .venv/dev.stamp
	$(BIN)/mypy

unit: .venv/dev.stamp
	$(BIN)/pytest -n auto --no-loadscope-reorder -m "not long"

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: .venv/dev.stamp
	$(BIN)/pytest -m browser

# The README's pictures, from a running console.
screenshots: .venv/dev.stamp
	$(BIN)/python scripts/screenshots.py

# Renew both locks from pyproject.toml.
lock: .venv/dev.stamp
	$(BIN)/python scripts/lock.py

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v[0]}.{v[1]} found, 3.11 or newer needed: run make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/console.stamp: .venv/python.stamp requirements.txt
	@echo "Installing the pinned packages into .venv, about a minute ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev.stamp: .venv/console.stamp requirements-dev.txt
	@echo "Installing the packages of the tests into .venv ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf .venv artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis
