# Every target sets up what it needs from a fresh clone. PYTHON picks the interpreter of the virtual environment (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := .venv-bench
ARGS   ?=

.PHONY: setup demo test test-long test-postgres test-all chaos bench lint lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Try: make $(MAKECMDGOALS) PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (about two minutes, once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/monitoring-assets demo $(ARGS)

# Two processes take the files in the order of `monitoring_assets_tests/conftest.py`, the longest first.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# All but the long ones: real servers, browsers, kills, retrains.
test: lint
	$(PYTEST) -m "not long" $(ARGS)

test-long: setup
	$(PYTEST) -m "long and not postgres" $(ARGS)

# The tests of the warehouse again, on PostgreSQL.
test-postgres: setup
	$(PYTEST) -m postgres $(ARGS)

test-all: lint
	$(PYTEST) -m "not postgres" $(ARGS)

# The tests do six kills of these hundred.
chaos: setup
	$(BIN)/python -W ignore -m monitoring_assets_tests.whole_loop.chaos $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The peers it compares with have an environment of their own: they hold back plotly and bring a hundred packages.
bench: $(BENCH)/.installed
	$(BENCH)/bin/python -m benchmarks.run $(ARGS)

$(BENCH)/.installed: benchmarks/requirements.lock pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@echo "Installing the benchmark's locked packages into $(BENCH) (about three minutes, once) ..."
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.lock
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(BENCH)/.installed

lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --extra demo --extra dev --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --extra demo --group bench --constraints requirements.lock --output-file benchmarks/requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) $(BENCH) build *.egg-info
